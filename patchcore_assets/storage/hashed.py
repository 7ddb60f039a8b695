"""What this process has hashed, so that a large file is read for its checksum once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from patchcore_ops.runtime.files import link_or_copy
from patchcore_ops.runtime.fingerprints import (
    CLOCK_GRANULARITY_NS,
    FileState,
    HashOf,
    file_hash,
    state_of,
)

if TYPE_CHECKING:
    import os

# Hashing releases the interpreter's lock, and few artefacts have more than two large files.
_THREADS = 2


class HashedFiles:
    """Gives files' SHA-256, and remembers it for as long as the files stay as they were.

    A file is recognised by device and inode, size, and the times of its last modification and of
    its last status change. A file that changed within the clock's granularity of being hashed could
    change again without a trace; it is not remembered, and hashed once more when it is asked for.
    Threads may share one.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[FileState, str]] = {}

    def __call__(self, file: Path) -> str:
        """Return a file's SHA-256."""
        return self.hash(file, time.time_ns() - CLOCK_GRANULARITY_NS)

    def hash(self, file: Path, settled_ns: int) -> str:
        """Return a file's SHA-256; remember it if the file changed last before `settled_ns`.

        That is a time of the file system's clock, in ns, that every later change will show.
        """
        before = file.stat()
        place = before.st_dev, before.st_ino
        state = state_of(before)
        known = self._known.get(place)
        if known is not None and known[0] == state:
            return known[1]
        digest = file_hash(file)
        if before.st_ctime_ns < settled_ns and state_of(file.stat()) == state:
            self._known[place] = state, digest
        return digest

    def link(self, source: Path, target: Path) -> None:
        """Make a file stand in a second place, as `link_or_copy` does, and go on knowing it."""
        before = source.stat()
        link_or_copy(source, target)
        self._follow(before, target.stat())

    @contextmanager
    def keeping(self, files: Iterable[Path]) -> Iterator[None]:
        """Go on knowing files while the body removes other links to them."""
        before = []
        for file in files:
            with suppress(FileNotFoundError):
                before.append((file, file.stat()))
        yield
        for file, status in before:
            with suppress(FileNotFoundError):
                self._follow(status, file.stat())

    def _follow(self, before: os.stat_result, after: os.stat_result) -> None:
        """Know a file by its state after a link to it was made or removed.

        That changes the time of the last status change, by which a file is recognised. Another
        content would change the time of the last modification as well.
        """
        place = before.st_dev, before.st_ino
        known = self._known.get(place)
        unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        is_same = (after.st_dev, after.st_ino) == place
        if is_same and unchanged and known is not None and known[0] == state_of(before):
            self._known[place] = state_of(after), known[1]


def hash_all(files: Iterable[Path], hash_of: HashOf) -> list[str]:
    """Hash files in two threads; returns their SHA-256 in the given order."""
    with ThreadPoolExecutor(_THREADS, "hashing") as pool:
        return list(pool.map(hash_of, files))
