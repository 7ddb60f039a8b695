"""Whether files of the dataset still have the content that an artefact has recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from patchcore_ops.dataset.image_formats import printable, problem_report
from patchcore_ops.runtime.fingerprints import HashOf, file_hash

Fault = Literal["gone", "changed"]

_SAID = {
    "gone": "is gone",
    "changed": "has changed",
}


def fault_of(file: Path, digest: str, hash_of: HashOf) -> Fault | None:
    """Tell whether a file is gone, or has another content than the one with a SHA-256.

    A file that cannot be read counts as gone.
    """
    try:
        return None if hash_of(file) == digest else "changed"
    except OSError:
        return "gone"


@contextmanager
def unchanged(recorded: Mapping[Path, str], since: str, hash_of: HashOf) -> Iterator[None]:
    """See that files have the content that was recorded, before they are read and afterwards.

    Raises
    ------
    DatasetError
        One line for each file that is gone or has changed.
    """
    states = {file: _state(file) for file in recorded}
    _refuse(recorded, since, hash_of)
    yield
    touched = {file: digest for file, digest in recorded.items() if _state(file) != states[file]}
    _refuse(touched, since, file_hash)


def _refuse(recorded: Mapping[Path, str], since: str, hash_of: HashOf) -> None:
    problems = [
        f"{printable(str(file))}: {_SAID[fault]} since {since} was made; materialise "
        "image_manifest and what follows it again"
        for file, digest in recorded.items()
        if (fault := fault_of(file, digest, hash_of)) is not None
    ]
    if problems:
        raise problem_report(problems)


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
