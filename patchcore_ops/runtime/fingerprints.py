"""Content hashes of files and folders, remembered so that nothing is hashed twice.

A file with unchanged size and times keeps its hash. A file that changed within the clock's
granularity of being hashed could change again without a trace, so it is hashed again.
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
from typing import NamedTuple, Self

from patchcore_ops.runtime.errors import DatasetError

ABSENT = "absent"

# The coarsest clock of a file system that is still in use ticks every two seconds.
CLOCK_GRANULARITY_NS = 2_000_000_000

HashOf = Callable[[Path], str]
FileState = tuple[int, int, int]


def state_of(status: os.stat_result) -> FileState:
    """Return size and times; copying cannot set back the time of the last status change."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class OutOfTime(Exception):
    """The time for hashing is over; what was hashed is remembered."""


def file_hash(file: Path) -> str:
    """Hash a file's content with SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_version(root: Path, category: str, hash_of: HashOf = file_hash) -> str:
    """Hash names and contents of a category's files: 16 hexadecimal digits, or `ABSENT`.

    An unreadable file counts by its name; a folder that cannot be read raises DatasetError.
    """
    folder = root / category
    digest = hashlib.sha256()
    try:
        if not folder.is_dir():
            return ABSENT
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
    """Hashes of files, kept in the file `memory` between uses; a context manager that saves them.

    Within one use each file keeps its first hash. After `until` (of `time.monotonic`) no further
    file is hashed, except one, so that repeated use ends. A damaged memory only costs time.
    """

    def __init__(self, memory: Path, until: float | None = None) -> None:
        self._memory = memory
        self._until = until
        self._given: dict[str, str] = {}
        self.hashed = 0  # files whose content had to be read

    def __enter__(self) -> Self:
        """Begin a use."""
        return self

    def __exit__(self, *_: object) -> None:
        """Save what is new."""
        if self.hashed:
            # A memory that cannot be written costs time at the next use, and nothing else.
            with suppress(OSError):
                _write_entries(self._memory, self._entries)

    @cached_property
    def _entries(self) -> dict[str, _Entry]:
        return _read_entries(self._memory)

    def __call__(self, file: Path) -> str:
        """Return a file's SHA-256; raise OutOfTime if it must be hashed and the time is over."""
        name = str(file)
        if name not in self._given:
            self._given[name] = self._remembered(name, file) or self._computed(name, file)
        return self._given[name]

    def _remembered(self, name: str, file: Path) -> str | None:
        entry = self._entries.get(name)
        state = state_of(file.stat())
        return entry.digest if entry and entry.is_of(state) and entry.is_settled() else None

    def _computed(self, name: str, file: Path) -> str:
        if self._until is not None and self.hashed and time.monotonic() > self._until:
            raise OutOfTime(f"{file}: not hashed yet")
        before, began = state_of(file.stat()), time.time_ns()
        digest = file_hash(file)
        self.hashed += 1
        self._entries.pop(name, None)
        if state_of(file.stat()) == before:
            self._entries[name] = _Entry(*before, began, digest)
        return digest


class _Entry(NamedTuple):
    """What is remembered of a file: its state, when its hashing began, and the hash."""

    size: int
    modified: int
    changed: int
    began: int
    digest: str

    def is_of(self, state: FileState) -> bool:
        return (self.size, self.modified, self.changed) == state

    def is_settled(self) -> bool:
        """Whether the file was old enough when it was hashed to show every later change."""
        return self.changed + CLOCK_GRANULARITY_NS < self.began


def _read_entries(memory: Path) -> dict[str, _Entry]:
    """Read the memory; a damaged one counts as empty."""
    try:
        checksum, _, body = memory.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        return {name: _Entry(*values) for name, values in json.loads(body).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_entries(memory: Path, entries: dict[str, _Entry]) -> None:
    """Replace the memory in one rename; drop files that are gone."""
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
    """Yield the names of all files below a folder, through linked folders too, without circles.

    Names are strings: Path objects would take most of the time for very many files.
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
