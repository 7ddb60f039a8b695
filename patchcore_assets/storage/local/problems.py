"""What the errors of a local storage mean: one sentence that names the folder and the remedy."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchcore_ops.runtime.errors import UserError

_NO_ROOM = "no room left while {artefact} was written ({reason}; {free} free); make room there or "
_TOO_LARGE = "a file of {artefact} is larger than files may be ({reason}; {free} free); "
_SENTENCES = {
    errno.ENOSPC: _NO_ROOM + "set {setting} to a larger disk",
    errno.EDQUOT: _NO_ROOM + "set {setting} to a larger disk",
    errno.EFBIG: _TOO_LARGE + "raise the limit (ulimit -f)",
    errno.EIO: "the disk failed while {artefact} was written ({reason}); check the disk or set "
    "{setting} to another one",
    errno.ENAMETOOLONG: "the path of {artefact} is longer than the file system allows ({reason}); "
    "set {setting} to a folder with a shorter path",
    errno.ENOLCK: "the file system has no locks ({reason}); set {setting} to another disk",
    errno.ENOTSUP: "the file system lacks locks or symbolic links ({reason}); set {setting} to "
    "another disk",
}
# These are the storage's only where they name a place in it.
_OF_A_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP}
_NO_RIGHT = (
    "cannot be written ({reason}); give the user of this process the right to write below "
    "{setting}, or set it to another folder"
)


class StorageProblem(UserError):
    """The storage cannot take what is to be written, for a reason outside of this project."""


@contextmanager
def storage_problems(folder: Path, artefact: str, setting: str) -> Iterator[None]:
    """Say in one sentence why a folder cannot take what is written.

    Raises
    ------
    StorageProblem
        If there is no room, no right to write, or the disk fails.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # Of two places the second is the one that is written.
        name = getattr(error, "filename2", None) or getattr(error, "filename", None)
        number = _number(error)
        place = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
        if number is None or (place is not None and not place.is_relative_to(folder)):
            raise
        sentence = _SENTENCES.get(number)
        if sentence is None and place is not None and number in _OF_A_PLACE:
            sentence = _NO_RIGHT
        if sentence is None:
            raise
        values = {"artefact": artefact, "setting": setting, "reason": os.strerror(number)}
        said = sentence.format(free=_free(folder), **values)
        raise StorageProblem(f"{place or folder}: {said}, then run again") from error


@contextmanager
def readable(setting: str) -> Iterator[None]:
    """Say in one sentence that a place of the storage may not be read.

    Raises
    ------
    StorageProblem
        If this user has no right to.
    """
    try:
        yield
    except PermissionError as error:
        raise StorageProblem(
            f"{error.filename}: cannot be read ({error.strerror}); give the user of this process "
            f"the right to read below {setting}, then run again"
        ) from error


def _number(error: OSError | RuntimeError) -> int | None:
    """Return an error's number; libraries in C++ have it in their message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = str(error)
    return next((number for number in _SENTENCES if os.strerror(number) in said), None)


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB"
    except OSError:
        return "an unknown part"
