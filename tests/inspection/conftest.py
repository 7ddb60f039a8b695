"""A calibrated model of a category of noise, whose test images are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_kit import Benchmarked, benchmarked, ensemble_config


@pytest.fixture(scope="session")
def single(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    folder = tmp_path_factory.mktemp("inspected")
    return benchmarked(tiny_dataset, folder, ensemble_config(folder, 1))


@pytest.fixture(scope="session")
def model(single: Benchmarked) -> Path:
    """Return its model; treat it as read-only."""
    folder = single.folder / "model"
    single.assemble(folder)
    return folder
