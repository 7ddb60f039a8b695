"""Files and folders brought to the disk, so that a power cut does not take them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path


def flush(places: Iterable[Path]) -> None:
    """Return when the content of files, or the entries of folders, are on the disk.

    Raises
    ------
    OSError
        If the disk has failed to take them, or there is no room.
    """
    for place in places:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_entries(folder: Path) -> None:
    """Return when the entries of a folder, and of the two above it, are on the disk.

    Raises
    ------
    OSError
        As `flush`.
    """
    flush([folder, folder.parent, folder.parent.parent])


def clock_past(descriptor: int, newest_ns: int) -> int:
    """Return a time of a file system's clock that is after `newest_ns`, if it comes soon."""
    until = time.monotonic() + 0.05
    while True:
        os.utime(descriptor)
        now = os.fstat(descriptor).st_ctime_ns
        if now > newest_ns or time.monotonic() > until:
            return now
        time.sleep(0.001)
