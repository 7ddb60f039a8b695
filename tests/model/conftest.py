"""Benchmarked categories: of one member, of three with ranges, of two with units."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_kit import Benchmarked, benchmarked, ensemble_config, units_config


@pytest.fixture(scope="session", params=[1, 3, 2], ids=["one member", "three members", "units"])
def category(
    request: pytest.FixtureRequest, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Benchmarked:
    folder = tmp_path_factory.mktemp(f"members_{request.param}")
    # The ensembles score in the other way that there is.
    rule = {"distance": "root", "image_score": "smoothed_max"} if request.param > 1 else {}
    if request.param == 2:
        config = units_config(folder, anomaly_scorer_num_nn=2, **rule)
    else:
        config = ensemble_config(folder, request.param, anomaly_scorer_num_nn=2, **rule)
    return benchmarked(tiny_dataset, folder, config)
