"""Compares files of the dataset with the content that an artefact recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from patchcore_ops.dataset.image_formats import printable, problem_report
from patchcore_ops.runtime.fingerprints import FileState, HashOf, file_hash, state_of

Fault = Literal["gone", "changed"]

_REMEDY = "materialise image_manifest and what follows it again"
_SAID = {"gone": "is gone", "changed": "has changed"}


def fault_of(file: Path, digest: str, hash_of: HashOf) -> Fault | None:
    """Tell whether a file is gone (or unreadable) or differs from a SHA-256."""
    try:
        return None if hash_of(file) == digest else "changed"
    except OSError:
        return "gone"


@contextmanager
def unchanged(
    recorded: Mapping[Path, str], since: str, hash_of: HashOf, remedy: str = _REMEDY
) -> Iterator[None]:
    """Check before and after the body that files have their recorded SHA-256."""
    states = {file: _state(file) for file in recorded}
    _refuse(recorded, since, hash_of, remedy)
    yield
    touched = {file: digest for file, digest in recorded.items() if _state(file) != states[file]}
    _refuse(touched, since, file_hash, remedy)


def _refuse(recorded: Mapping[Path, str], since: str, hash_of: HashOf, remedy: str) -> None:
    problems = [
        f"{printable(str(file))}: {_SAID[fault]} since {since} was made; {remedy}"
        for file, digest in recorded.items()
        if (fault := fault_of(file, digest, hash_of)) is not None
    ]
    if problems:
        raise problem_report(problems)


def _state(file: Path) -> FileState | None:
    try:
        return state_of(file.stat())
    except OSError:
        return None
