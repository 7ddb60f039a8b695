"""Tall images with `imagesize: auto` through the graph: the numbers are recorded and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, complete, write_config

from patchcore_ops import Model


def test_a_category_of_tall_images(tiny_dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for file in sorted((tiny_dataset / CATEGORY).rglob("*.png")):
        target = root / file.relative_to(tiny_dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(file)
        image.resize((60, 100), Image.Resampling.NEAREST).save(target)
    sections = {"dataset": {"categories": [CATEGORY], "imagesize": "auto", "fit": "pad"}}
    config = write_config(tmp_path / "patchcore.yaml", root, **sections)
    storage = complete(config, *BY_CATEGORY, *OVER_ALL)
    for asset in ("raw_embeddings", "memory_bank", "test_predictions", "category_metrics", "model"):
        settings = json.loads((storage / asset / CATEGORY / "settings.json").read_text())
        assert settings["dataset"]["imagesize"] == [96, 64], asset
        assert settings["dataset"]["fit"] == "pad"
    scores = pd.read_parquet(storage / "test_predictions" / CATEGORY / "scores.parquet")
    maps = np.load(storage / "test_predictions" / CATEGORY / "anomaly_maps.npy")
    assert maps.shape == (len(scores), 96, 64)
    assert np.isnan(maps).any()
    found = Model.load(storage / "model" / CATEGORY).predict(root / path for path in scores["path"])
    np.testing.assert_allclose([one.score for one in found], scores["score"], rtol=1e-5)
    page = (storage / "benchmark_report" / "index.html").read_text()
    assert "96, 64" in page
    assert "now auto" not in page
