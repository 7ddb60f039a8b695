"""What the errors of a local storage mean: one sentence that names the folder and the remedy."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchcore_assets.storage.artefact import of
from patchcore_ops.runtime.errors import UserError

_NO_ROOM = (
    "{root}: no room left while {artefact} was written ({reason}; {free} free); make room there or "
    "set storage.root to a larger disk, then run again"
)
_TOO_LARGE = (
    "{root}: a file of {artefact} is larger than files may be ({reason}; {free} free); raise the "
    "limit (ulimit -f), then run again"
)
_DISK_FAILS = (
    "{place}: the disk failed while {artefact} was written ({reason}); check the disk or set "
    "storage.root to another one, then run again"
)
_NO_LOCKS = (
    "{root}: the file system has no locks ({reason}); set storage.root to a folder on a file "
    "system with flock"
)
_NO_RIGHT = (
    "{place}: cannot be written ({reason}); give the user of this process the right to write below "
    "storage.root, or set it to another folder"
)
_SENTENCES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _TOO_LARGE,
    errno.EIO: _DISK_FAILS,
    errno.ENOLCK: _NO_LOCKS,
    errno.ENOTSUP: _NO_LOCKS,
}
# These are the storage's only where they name a place in it.
_SENTENCES_OF_A_PLACE = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP), _NO_RIGHT
)


class StorageProblem(UserError):
    """The storage cannot take what is to be written, for a reason outside of this project."""


@contextmanager
def storage_problems(root: Path, asset: str, category: str | None) -> Iterator[None]:
    """Say in one sentence why the storage cannot take an artefact.

    Raises
    ------
    StorageProblem
        If there is no room, no right to write, or the disk fails.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        sentence = _sentence(error, root, f"{asset}{of(category)}")
        if sentence is None:
            raise
        raise StorageProblem(sentence) from error


def _sentence(error: OSError | RuntimeError, root: Path, artefact: str) -> str | None:
    number = _number(error)
    name = getattr(error, "filename", None)
    place = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    if number is None or (place is not None and not place.is_relative_to(root)):
        return None
    sentence = _SENTENCES.get(number)
    if sentence is None and place is not None:
        sentence = _SENTENCES_OF_A_PLACE.get(number)
    return sentence and sentence.format(
        root=root,
        place=place or root,
        artefact=artefact,
        reason=os.strerror(number),
        free=_free(root),
    )


def _number(error: OSError | RuntimeError) -> int | None:
    """Return an error's number; libraries in C++ have it in their message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = str(error)
    return next((number for number in _SENTENCES if os.strerror(number) in said), None)


def _free(root: Path) -> str:
    try:
        return f"{shutil.disk_usage(root).free / 1e6:,.0f} MB"
    except OSError:
        return "an unknown part"
