"""The model of a benchmarked category, and a service of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_kit import Service, serving

from patchcore_ops.service.settings import ServiceSettings


@pytest.fixture(scope="session")
def models(model: Path) -> Path:
    """Return a folder of one model, fabric_a; treat it as read-only."""
    return model.parent


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Service]:
    with serving(ServiceSettings(models)) as running:
        yield running
