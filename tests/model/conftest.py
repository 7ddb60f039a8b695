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
    # The ensemble scores in the other way that there is.
    rule = {"distance": "root", "image_score": "smoothed_max"} if request.param > 1 else {}
    config = ensemble_config(folder, request.param, anomaly_scorer_num_nn=2, **rule)
    return benchmarked(tiny_dataset, folder, config)
