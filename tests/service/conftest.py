"""The model of a benchmarked category, and a service of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from model_kit import Benchmarked
from service_kit import Service, serving

from patchcore_ops.service.settings import ServiceSettings


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
