"""What a check has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pandas as pd

Fact: TypeAlias = bool | int | float | str | Sequence[str] | pd.DataFrame

# More names than this are a folder listing, not something that anybody reads.
NAMED_FILES = 50


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes
    ----------
    passed : bool
    sentence : str
        What is so; where the check failed, with the remedy.
    is_error : bool
        Whether a failure is an error rather than a warning.
    facts : mapping of str to Fact
        Counts, names of files and tables behind the sentence.
    """

    passed: bool
    sentence: str
    is_error: bool = True
    facts: Mapping[str, Fact] = field(default_factory=dict)


def counted(count: int, what: str, plural: str | None = None) -> str:
    """Say how many: `counted(1, "file")` is "1 file", `counted(2, "file")` is "2 files"."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def such_as(names: Sequence[str]) -> str:
    """Name the first of several, for a sentence."""
    return names[0] if len(names) == 1 else f"such as {names[0]}"
