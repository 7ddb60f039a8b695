"""A store in a folder, for the tests of what goes wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchcore_assets.storage.local.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "store"))
