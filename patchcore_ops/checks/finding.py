"""The result of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pandas as pd

Fact: TypeAlias = bool | int | float | str | Sequence[str] | pd.DataFrame

# Nobody reads a longer list.
NAMED_FILES = 50


@dataclass(frozen=True)
class Finding:
    """The result of one check; a failure is an error, or with `is_error` false a warning."""

    passed: bool
    sentence: str  # after a failure with the remedy
    is_error: bool = True
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @staticmethod
    def of(
        is_good: bool,
        passed: str,
        failed: str,
        facts: Mapping[str, Fact],
        files: Sequence[str] | pd.DataFrame = (),
        *,
        is_error: bool = True,
    ) -> Finding:
        """Choose the sentence by `is_good`; the first of the `files`, if any, become a fact."""
        named = {"files": files[:NAMED_FILES]} if len(files) else {}
        return Finding(is_good, passed if is_good else failed, is_error, {**facts, **named})


def counted(count: int, what: str, plural: str | None = None) -> str:
    """Say how many: `counted(1, "file")` is "1 file", `counted(2, "file")` is "2 files"."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def such_as(names: Sequence[str]) -> str:
    """Name the first of several, for a sentence."""
    return f"such as {names[0]}" if len(names) > 1 else "".join(names)
