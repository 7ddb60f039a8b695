"""Files that stand in two places, and where a user's cache is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file stand in a second place: by a hard link, or as a copy where there can be none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


def user_cache() -> Path:
    """Return the folder below which programs of the user keep what can be made again."""
    own = os.environ.get("XDG_CACHE_HOME")
    return Path(own or os.path.expanduser("~/.cache"))  # noqa: PTH111 - without a home, "~"
