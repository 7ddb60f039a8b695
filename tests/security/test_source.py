"""What ruff's rules do not see: files that may unpickle, and text that is not escaped."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# For each kind of file, what must not stand in it.
REFUSED = {
    "*.py": ("allow_pickle=True", "weights_only=False", "autoescape=False", "|safe"),
    "*.html": ("|safe", "| safe", "autoescape"),
    "*.js": ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("),
}


@pytest.mark.parametrize("pattern", REFUSED)
def test_nothing_unpickles_or_writes_what_is_not_escaped(pattern: str) -> None:
    files = [
        file
        for package in ("patchcore_ops", "patchcore_assets")
        for file in (REPOSITORY / package).rglob(pattern)
    ]
    assert files
    found = [
        (str(file.relative_to(REPOSITORY)), word)
        for file in files
        for word in REFUSED[pattern]
        if word in file.read_text(encoding="utf-8")
    ]
    assert not found
