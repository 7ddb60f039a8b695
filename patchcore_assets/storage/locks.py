"""Advisory locks on files, which the system releases however their process ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor


def lock_of(folder: Path) -> Path:
    """Return the file whose lock says that a version folder is in use."""
    return folder.with_name(f"{folder.name}.lock")


@contextmanager
def locked(file: Path, *, shared: bool = False, wait: bool = True, create: bool) -> Iterator[int]:
    """Hold an advisory lock on a file.

    Raises
    ------
    BlockingIOError
        If another holds the lock, and this is not to wait.
    FileNotFoundError
        If the file is absent and not to be made.
    """
    flags = os.O_RDONLY if shared else os.O_RDWR
    while True:
        descriptor = os.open(file, flags | (os.O_CREAT if create else 0), 0o644)
        try:
            _lock(descriptor, shared, wait)
            # The file may have been removed, or made anew, while we waited for it.
            if _is_same_file(descriptor, file):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, shared: bool, wait: bool) -> None:
    if shared:
        try:
            import fcntl
        except ImportError:
            pass  # Windows: there, readers keep each other out.
        else:
            fcntl.flock(descriptor, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
            return
    if not lock_descriptor(descriptor, blocking=wait):
        raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))


def _is_same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
