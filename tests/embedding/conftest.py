"""A network of two layers and its store, which many tests of the engines look at."""

from __future__ import annotations

import pytest
from engine_kit import InFolder, config_of, saved, trained

from patchcore_ops.config.sections import CategoryConfig


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[CategoryConfig, InFolder]:
    folder = tmp_path_factory.mktemp("resnet")
    weights = saved(trained("resnet18", 64), folder / "w.safetensors")
    return config_of("resnet18", ["layer2", "layer3"], 64, weights), InFolder(folder / "networks")
