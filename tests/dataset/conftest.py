"""A sound category, which tests spoil."""

from __future__ import annotations

from pathlib import Path

import pytest
from category_kit import build


@pytest.fixture
def nut(tmp_path: Path) -> Path:
    """Return the folder of a sound category."""
    return build(tmp_path / "data")
