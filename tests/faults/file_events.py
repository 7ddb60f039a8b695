"""Counts what a process does to the files below a folder, and lets the n-th of it go wrong.

An event is the opening of a file for writing, a write that reaches the system, the making,
renaming, linking or removing of an entry, and a flush to the disk. Only Python's own calls are
seen: what a library in C++ writes by itself (Parquet here) lies between two events. This changes
the whole process and cannot be undone; it is for a child that ends with its one run.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events, and which of their arguments are the path and the folder that it is relative to.
_AUDITED = {
    "os.mkdir": (0, 2),
    "os.rename": (1, 3),
    "os.symlink": (1, 2),
    "os.remove": (0, 1),
    "os.rmdir": (0, 1),
}
_SHRINKING = ("os.remove", "os.rmdir", "fsync")

Fault = Callable[[str, str, "Callable[[], object] | None"], None]


class FileEvents:
    """Counts events; at number `position` and after it, asks `fault` what happens."""

    def __init__(self, root: str, position: int | None = None, fault: Fault | None = None) -> None:
        self.count = 0
        self._root = root.rstrip("/") + "/"
        self._position = position
        self._fault = fault
        self._lock = threading.Lock()
        self._busy = threading.local()

    def install(self) -> None:
        """Begin to count, in every thread of this process."""
        sys.addaudithook(self._audit)
        io.open = builtins.open = _opener(self, io.open)  # type: ignore[assignment]
        fsync = os.fsync

        def counted_fsync(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            self.happens("fsync", str(_open_file(number)))
            fsync(descriptor)

        os.fsync = counted_fsync

    def is_below(self, path: str) -> bool:
        """Tell whether a path lies below the folder."""
        return path.startswith(self._root)

    def happens(self, kind: str, path: str, half: Callable[[], object] | None = None) -> None:
        """Count an event below the folder, and let it go wrong if it is its turn."""
        if not self.is_below(path) or getattr(self._busy, "now", False):
            return
        with self._lock:
            self.count += 1
            turn = self.count
        if self._fault is not None and self._position is not None and turn >= self._position:
            self._busy.now = True
            try:
                self._fault(kind, path, half)
            finally:
                self._busy.now = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and isinstance(path, str | bytes):
                self.happens("open", _absolute(path, None))
        elif event in _AUDITED:
            path_at, folder_at = _AUDITED[event]
            self.happens(event, _absolute(arguments[path_at], arguments[folder_at]))


def _absolute(path: Any, folder: int | None) -> str:
    """Return an absolute path without following its last link."""
    name = Path(os.fsdecode(path))
    return str((_open_file(folder) if folder is not None and folder >= 0 else Path.cwd()) / name)


def _open_file(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def _opener(events: FileEvents, original: Callable[..., Any]) -> Callable[..., Any]:
    class Raw(io.FileIO):
        def write(self, data: Any, /) -> int:
            view = memoryview(data).cast("B")
            half = view[: len(view) // 2]
            events.happens("write", self.path, lambda: super(Raw, self).write(half))
            return super().write(data)

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        writes = not isinstance(file, int) and set(mode) & set("wxa+")
        path = _absolute(file, None) if writes else ""
        if not writes or not events.is_below(path) or "+" in mode:
            return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Raw(os.fspath(file), mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.path = path  # type: ignore[attr-defined]
        if buffering == 0:
            return raw
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    return opened


def kill(kind: str, path: str, half: Callable[[], object] | None) -> None:
    """End the process; of a write, the first half has reached the file."""
    if half is not None:
        half()
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(kind: str, path: str, half: Callable[[], object] | None) -> None:
    """Refuse whatever needs room, from now on; of a write, the first half still fitted."""
    if kind in _SHRINKING:
        return
    if half is not None:
        half()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class FailOnce:
    """Lets one event fail as on a broken disk, and no other."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, kind: str, path: str, half: Callable[[], object] | None) -> None:
        """Raise, the first time."""
        if not self._done:
            self._done = True
            if kind in ("write", "fsync"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
