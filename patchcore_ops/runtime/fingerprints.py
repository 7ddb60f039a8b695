"""Content hashes of files and folders, remembered so that nothing is hashed twice.

A file that has the size and the times that it had when it was hashed still has that content, and
its hash need not be computed again. The one exception is a file that changed within the clock's
granularity of being hashed: a second change could leave the same times behind. Such an entry is
not trusted, and the file is hashed once more when it is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from patchcore_ops.runtime.errors import DatasetError

ABSENT = "absent"

# The coarsest clock of a file system that is still in use ticks every two seconds.
_CLOCK_GRANULARITY_NS = 2_000_000_000

HashOf = Callable[[Path], str]


class OutOfTime(Exception):
    """The time that was granted for hashing is over; what was hashed is remembered."""


def file_hash(file: Path) -> str:
    """Hash a file's content with SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_version(root: Path, category: str, hash_of: HashOf = file_hash) -> str:
    """Hash the names and contents of all files of a category: equal folders, equal versions.

    Raises
    ------
    DatasetError
        If a folder cannot be read, or a file vanishes or fails while it is read.
    """
    folder = root / category
    if not folder.is_dir():
        return ABSENT
    digest = hashlib.sha256()
    try:
        for name in sorted(_files_below(folder), key=lambda name: name.split("/")):
            content = _content(folder / name, hash_of)
            digest.update(os.fsencode(f"{name}\0{content}\0"))
    except OSError as error:
        raise DatasetError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error}); make it "
            "readable, or wait until it has been copied"
        ) from None
    return digest.hexdigest()[:16]


class FileHashes:
    """The hashes of files, kept in a small file from one use to the next.

    As a context manager it saves what it has learnt on leaving, also when it is left by an error.
    Within one use every file keeps the hash that was given first.
    """

    def __init__(self, memory: Path, until: float | None = None) -> None:
        self._memory = memory
        self._until = until
        self._given: dict[str, str] = {}
        self._hashed = 0

    def __enter__(self) -> Self:
        """Begin a use."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Save what is new."""
        if self._hashed:
            # A memory that cannot be written costs time at the next use, and nothing else.
            with suppress(OSError):
                _write_entries(self._memory, self._entries)

    @cached_property
    def _entries(self) -> dict[str, _Entry]:
        return _read_entries(self._memory)

    @property
    def hashed(self) -> int:
        """The number of files whose content had to be read."""
        return self._hashed

    def __call__(self, file: Path) -> str:
        """Return a file's SHA-256.

        Raises
        ------
        OSError
            If the file cannot be read.
        OutOfTime
            If it would have to be hashed, and the time is over.
        """
        name = str(file)
        if name not in self._given:
            self._given[name] = self._remembered(name, file) or self._computed(name, file)
        return self._given[name]

    def _remembered(self, name: str, file: Path) -> str | None:
        entry = self._entries.get(name)
        state = _state(file)
        return entry.digest if entry and entry.is_of(state) and entry.is_settled() else None

    def _computed(self, name: str, file: Path) -> str:
        if self._until is not None and self._hashed and time.monotonic() > self._until:
            raise OutOfTime(f"{file}: not hashed yet")
        before, began = _state(file), time.time_ns()
        digest = file_hash(file)
        self._hashed += 1
        self._entries.pop(name, None)
        if _state(file) == before:
            self._entries[name] = _Entry(*before, began, digest)
        return digest


class _Entry(NamedTuple):
    """What is remembered of a file: its state, when its hashing began, and the hash."""

    size: int
    modified: int
    changed: int
    began: int
    digest: str

    def is_of(self, state: tuple[int, int, int]) -> bool:
        return (self.size, self.modified, self.changed) == state

    def is_settled(self) -> bool:
        """Whether the file was old enough when it was hashed to show every later change."""
        return self.changed + _CLOCK_GRANULARITY_NS < self.began


def _state(file: Path) -> tuple[int, int, int]:
    """Return size and times; the time of the last status change cannot be set back by copying."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_entries(memory: Path) -> dict[str, _Entry]:
    """Read what is remembered; anything but exactly what was written counts as nothing."""
    try:
        checksum, _, body = memory.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        return {name: _Entry(*values) for name, values in json.loads(body).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_entries(memory: Path, entries: dict[str, _Entry]) -> None:
    """Replace the memory in one rename, without the files that are gone."""
    body = json.dumps({name: entry for name, entry in entries.items() if Path(name).exists()})
    checksum = hashlib.sha256(body.encode()).hexdigest()
    memory.parent.mkdir(parents=True, exist_ok=True)
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        temporary.write_text(f"{checksum}\n{body}", encoding="utf-8")
        temporary.replace(memory)
    finally:
        temporary.unlink(missing_ok=True)


def _content(file: Path, hash_of: HashOf) -> str:
    try:
        return hash_of(file)
    except PermissionError:
        return "unreadable"


def _files_below(
    folder: Path, below: str = "", above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Yield the name of every file below a folder, through linked folders too, never in a circle.

    Paths as objects would take most of the time of a look at very many files.
    """
    place = f"{folder}/{below}"
    status = os.stat(place)  # noqa: PTH116 - see above
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(place) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            # What the folder itself says of an entry is free; a link has to be followed.
            kind = folder / name if entry.is_symlink() else entry
            if kind.is_dir():
                yield from _files_below(folder, f"{name}/", above | {here})
            elif kind.is_file():
                yield name
