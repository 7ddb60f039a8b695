"""A benchmarked category, its model, and a service of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from model_kit import Benchmarked, benchmarked, ensemble_config
from service_kit import Service, serving

from patchcore_ops.service.settings import ServiceSettings


@pytest.fixture(scope="session")
def single(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    folder = tmp_path_factory.mktemp("single")
    return benchmarked(tiny_dataset, folder, ensemble_config(folder, 1))


@pytest.fixture(scope="session")
def models(single: Benchmarked) -> Path:
    """Return a folder of one model, fabric_a; treat it as read-only."""
    folder = single.folder / "models"
    single.assemble(folder / "fabric_a")
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Service]:
    with serving(ServiceSettings(models)) as running:
        yield running
