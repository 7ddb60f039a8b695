"""Two benchmarked categories, of one member and of three."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_kit import Benchmarked, benchmarked, ensemble_config


@pytest.fixture(scope="session", params=[1, 3], ids=["one member", "three members"])
def category(
    request: pytest.FixtureRequest, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Benchmarked:
    folder = tmp_path_factory.mktemp(f"members_{request.param}")
    return benchmarked(tiny_dataset, folder, ensemble_config(folder, request.param, neighbours=2))


@pytest.fixture(scope="session")
def single(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    folder = tmp_path_factory.mktemp("single")
    return benchmarked(tiny_dataset, folder, ensemble_config(folder, 1))


@pytest.fixture(scope="session")
def model(single: Benchmarked) -> Path:
    """Return a model of one member; treat it as read-only."""
    folder = single.folder / "model"
    single.assemble(folder)
    return folder
