"""Advisory locks on files, which the system releases however their process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_of(folder: Path) -> Path:
    """Return the file whose lock says that a version folder is in use."""
    return folder.with_name(f"{folder.name}.lock")


@contextmanager
def locked(file: Path, operation: int, *, create: bool) -> Iterator[int]:
    """Hold an advisory lock on a file.

    Parameters
    ----------
    file : Path
        The file.
    operation : int
        Of `fcntl.flock`. A shared lock needs no right to write.
    create : bool
        Whether to make the file where it is absent.

    Yields
    ------
    int
        The file's descriptor.

    Raises
    ------
    BlockingIOError
        If another holds the lock, and the operation does not wait.
    FileNotFoundError
        If the file is absent and not to be made.
    """
    flags = os.O_RDWR if operation & fcntl.LOCK_EX else os.O_RDONLY
    while True:
        descriptor = os.open(file, flags | (os.O_CREAT if create else 0), 0o644)
        try:
            fcntl.flock(descriptor, operation)
            # The file may have been removed, or made anew, while we waited for it.
            if _is_same_file(descriptor, file):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
