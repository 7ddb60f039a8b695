"""The journal of a run over images: a line of JSON for each image, as soon as it is scored.

A process that is killed loses the line that it was writing, and no other. What another model wrote
is refused: its scores cannot stand in one table with these.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from filelock import lock_descriptor

from patchcore_ops.inspection.rows import Row
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.fingerprints import FileState

JOURNAL = "predictions.jsonl"
_FORMAT = 1


class Entry(NamedTuple):
    """A scored image."""

    path: str  # as the image was named
    state: FileState  # size and times of its file before it was read
    name: str  # of its pictures, without extension
    pictures: dict[str, int]  # their places in the folder, and their sizes in bytes
    row: Row


class Journal:
    """The journal in a folder; `opened_journal` gives one.

    `entries` are by path; `emptied` is what was in it before it was begun again.
    """

    def __init__(
        self, stream: FileIO, entries: Iterable[Entry], emptied: Sequence[Entry] = ()
    ) -> None:
        self._stream = stream
        self.entries = {entry.path: entry for entry in entries}
        self.emptied = emptied

    def append(self, entry: Entry) -> None:
        """Add an entry, or replace that of the same path; it outlives this process."""
        _write(self._stream, entry._asdict())
        self.entries[entry.path] = entry


@contextmanager
def opened_journal(
    folder: Path, model: str, category: str, begin_again: bool = False
) -> Iterator[Journal]:
    """Open the journal of a folder, which exists; there is one user at a time.

    `model` is a version. With `begin_again` the journal is emptied, whatever model wrote it. Raises
    EnvironmentProblem if another model wrote the journal, another process has it open, or it is
    none.
    """
    file = folder / JOURNAL
    # A buffer would be written again when it is closed, however that failed before.
    with file.open("ab", buffering=0) as stream:
        if not lock_descriptor(stream.fileno(), blocking=False):
            raise EnvironmentProblem(
                f"{folder}: another process writes its predictions there; wait for it, or name "
                "another folder"
            )
        header = {"format": _FORMAT, "model": model, "category": category}
        found = _content(file)
        if found is None or begin_again:
            stream.truncate(0)
            _write(stream, header)
            yield Journal(stream, [], [] if found is None else found[1])
            return
        written, entries, end = found
        if written != header:
            raise EnvironmentProblem(
                f"{folder}: holds predictions of another model ({_described(written)}; this is "
                f"{_described(header)}); name another folder, or give --again to replace them"
            )
        stream.truncate(end)
        yield Journal(stream, entries)


def _content(file: Path) -> tuple[dict[str, Any], list[Entry], int] | None:
    """Read header and entries up to what is damaged, and where that begins; None if it is new."""
    first, *lines = file.read_bytes().splitlines(keepends=True) or [b""]
    if not first.endswith(b"\n"):
        return None
    try:
        header = json.loads(first)
        if header["format"] != _FORMAT:
            raise ValueError(header)
    except (ValueError, KeyError, TypeError):
        raise EnvironmentProblem(
            f"{file}: is no journal that this release writes; name another folder, or remove it"
        ) from None
    entries, end = [], len(first)
    for line in lines:
        try:
            content = json.loads(line)
            entry = Entry(**{**content, "state": tuple(content["state"])})
        except (ValueError, KeyError, TypeError):
            break
        if not line.endswith(b"\n") or "/" in entry.name:
            break
        entries.append(entry)
        end += len(line)
    return header, entries, end


def _write(stream: FileIO, content: dict[str, Any]) -> None:
    line = json.dumps(content).encode("ascii") + b"\n"
    if stream.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _described(header: dict[str, Any]) -> str:
    return f"{header.get('category')}, {str(header.get('model'))[:12]}"
