"""Files that stand in two places."""

from __future__ import annotations

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
