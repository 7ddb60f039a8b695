"""The journal of a run over images: a line of JSON for each image, as soon as it is scored.

A process that is killed loses the line that it was writing, and no other. What another model wrote
is refused: its scores cannot stand in one table with these.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from patchcore_ops.inspection.rows import Row
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.fingerprints import FileState

JOURNAL = "predictions.jsonl"
_FORMAT = 1


class Entry(NamedTuple):
    """A scored image.

    Attributes
    ----------
    path : str
        As the image was named.
    state : tuple of int
        Size and times of its file before it was read.
    name : str
        Of its pictures, without extension.
    pictures : dict of str to int
        Their places in the folder, and their sizes in bytes.
    row : dict
    """

    path: str
    state: FileState
    name: str
    pictures: dict[str, int]
    row: Row


class Journal:
    """The journal in a folder; entries by path. `opened_journal` gives one."""

    def __init__(self, stream: IO[bytes], entries: dict[str, Entry]) -> None:
        self._stream = stream
        self.entries = entries

    def append(self, entry: Entry) -> None:
        """Add an entry, or replace that of the same path; it outlives this process."""
        self._stream.write(_line(entry._asdict()))
        self._stream.flush()
        self.entries[entry.path] = entry


@contextmanager
def opened_journal(
    folder: Path, model: str, category: str, begin_again: bool = False
) -> Iterator[Journal]:
    """Open a folder's journal, of which there is one user at a time.

    Parameters
    ----------
    folder : Path
        It exists.
    model : str
        The model's version.
    category : str
    begin_again : bool
        Whether the journal of another model is emptied.

    Raises
    ------
    EnvironmentProblem
        If another model wrote the journal, another process has it open, or it is none.
    """
    file = folder / JOURNAL
    with file.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentProblem(
                f"{folder}: another process writes its predictions there; wait for it, or name "
                "another folder"
            ) from None
        header = {"format": _FORMAT, "model": model, "category": category}
        stream.seek(0)
        found = _content(stream, file)
        if found is None or begin_again:
            stream.truncate(0)
            stream.write(_line(header))
            yield Journal(stream, {})
            return
        written, entries, end = found
        if written != header:
            raise EnvironmentProblem(
                f"{folder}: holds predictions of another model ({_described(written)}; this is "
                f"{_described(header)}); name another folder, or give --again to replace them"
            )
        stream.truncate(end)
        yield Journal(stream, {entry.path: entry for entry in entries})


def _content(stream: IO[bytes], file: Path) -> tuple[dict[str, Any], list[Entry], int] | None:
    """Read header and entries up to what is damaged, and where that begins; None if it is new."""
    first = stream.readline()
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
    for line in stream:
        try:
            content = json.loads(line)
            state = tuple(content.pop("state"))
            entries.append(Entry(state=state, **content))
        except (ValueError, KeyError, TypeError):
            break
        if not line.endswith(b"\n"):
            entries.pop()
            break
        end += len(line)
    return header, entries, end


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"


def _described(header: dict[str, Any]) -> str:
    return f"{header.get('category')}, {str(header.get('model'))[:12]}"
