"""An ensemble that is scaled by units: predictions, calibration and model by the definition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_kit import RUNTIME, Benchmarked, benchmarked, literal_patch_scores, units_config

from patchcore_ops import Model
from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.stages import member_units
from patchcore_ops.stages.evaluation import evaluate_model
from patchcore_ops.stages.layout import NORMAL_SCORES
from patchcore_ops.stages.predictions import assemble_predictions


@pytest.fixture(scope="module")
def made(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    folder = tmp_path_factory.mktemp("units")
    return benchmarked(tiny_dataset, folder, units_config(folder, distance="root"))


def test_scores_are_sums_of_patch_scores_in_units(made: Benchmarked, tmp_path: Path) -> None:
    normal = [literal_patch_scores(made, member, "train") for member in range(2)]
    test = [literal_patch_scores(made, member, "test") for member in range(2)]
    units = [float(scores.mean()) for scores in normal]
    written = json.loads((made.folder / "predictions" / "ranges.json").read_text())
    assert written["scores"] == written["maps"] == []
    assert written["units"] == pytest.approx(units, rel=1e-5)
    of_test = (test[0] / units[0] + test[1] / units[1]) / 2
    np.testing.assert_allclose(made.scores["score"], of_test.max(axis=1), rtol=1e-4)
    for member, scores in enumerate(test):
        np.testing.assert_allclose(made.scores[f"score_{member}"], scores.max(axis=1), rtol=1e-4)
    of_normal = (normal[0] / units[0] + normal[1] / units[1]) / 2
    calibrated = pd.read_parquet(made.folder / "calibration" / NORMAL_SCORES)
    np.testing.assert_allclose(calibrated["score"], of_normal.max(axis=1), rtol=1e-4)
    # A single image needs no other test image.
    made.assemble(tmp_path / "model")
    model = Model.load(tmp_path / "model", RUNTIME)
    [last] = model.predict(made.images[-1])
    assert last.score == pytest.approx(of_test[-1].max(), rel=1e-4)
    np.testing.assert_allclose(last.anomaly_map, made.maps[-1], rtol=1e-4, atol=1e-5)
    found = evaluate_model(
        model, "fabric_a", made.root, MetricsSection(), RUNTIME, tmp_path / "evaluated"
    )
    assert found.ranges_of == ""
    again = pd.read_parquet(tmp_path / "evaluated" / "scores.parquet")
    np.testing.assert_allclose(again["score"], made.scores["score"], rtol=1e-5)


def test_a_sample_of_train_images_is_drawn_by_the_seed(
    made: Benchmarked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_units, "UNIT_IMAGES", 2)
    folders = [made.folder / name for name in ("embeddings", "bank", "index")]
    found = member_units.member_units(*folders, made.config, RUNTIME)
    images = len(literal_patch_scores(made, 0, "train"))
    chosen = np.sort(np.random.default_rng(0).choice(images, 2, replace=False))
    for member, unit in enumerate(found):
        assert unit == pytest.approx(
            literal_patch_scores(made, member, "train")[chosen].mean(), rel=1e-5
        )


def test_units_are_not_forgotten(made: Benchmarked, tmp_path: Path) -> None:
    assert made.config.members_have_units
    with pytest.raises(ValueError, match="leave_one_out"):
        assemble_predictions(made.folder / "embeddings", [], made.config, tmp_path)


def test_train_images_that_do_not_differ_have_no_unit(
    made: Benchmarked, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros((2, 8, 8), np.float32)
    monkeypatch.setattr(member_units, "leave_one_out_scores", lambda *_: [nothing, nothing])
    folders = [made.folder / name for name in ("embeddings", "bank", "index")]
    with pytest.raises(ConfigError, match=r"add train images, or write scoring\.ensemble: min_max"):
        member_units.member_units(*folders, made.config, RUNTIME)
