"""Normal scores by their definition: each train image against the bank without its own rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_kit import (
    RUNTIME,
    Benchmarked,
    benchmarked,
    ensemble_config,
    literal_patch_scores,
)
from PIL import Image
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression

from patchcore_ops.calibration import Calibration, conformal_threshold
from patchcore_ops.checks.calibration import enough_normal_images, false_positives_are_as_asked
from patchcore_ops.config.sections import CategoryConfig, IndexSection
from patchcore_ops.scoring.ensemble import UNSCALED
from patchcore_ops.stages.layout import NORMAL_SCORES, read_images
from patchcore_ops.stages.leave_one_out import sampled
from patchcore_ops.stages.score_calibration import (
    calibrate,
    calibrate_normal,
    read_calibration,
    with_test_images,
)


@pytest.fixture(scope="module", params=[1, 2], ids=["one member", "two members"])
def made(
    request: pytest.FixtureRequest, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Benchmarked:
    folder = tmp_path_factory.mktemp(f"calibrated_{request.param}")
    return benchmarked(
        tiny_dataset, folder, ensemble_config(folder, request.param, anomaly_scorer_num_nn=2)
    )


def test_each_train_image_is_scored_without_its_own_rows(made: Benchmarked) -> None:
    normal = pd.read_parquet(made.folder / "calibration" / NORMAL_SCORES)
    members = len(made.config.embedding.members)
    own = [literal_patch_scores(made, member, "train").max(axis=1) for member in range(members)]
    if members == 1:
        expected = own[0]
    else:
        scaled = []
        for member, scores in enumerate(own):
            of_test = made.scores[f"score_{member}"]
            scaled.append((scores - of_test.min()) / (of_test.max() - of_test.min()))
        expected = np.mean(scaled, axis=0)
    np.testing.assert_allclose(normal["score"], expected, rtol=1e-4)
    images = read_images(made.folder / "embeddings")
    assert normal["path"].tolist() == images.loc[images["split"] == "train", "path"].tolist()
    calibration = read_calibration(made.folder / "calibration")
    assert calibration.normal_scores == tuple(sorted(normal["score"]))
    assert calibration.image_threshold == conformal_threshold(normal["score"], 0.01)
    assert calibration.pixel_threshold == conformal_threshold(normal["map_peak"], 0.01)


def test_an_approximate_index_is_searched_without_own_rows_too(
    made: Benchmarked, tmp_path: Path
) -> None:
    # Every cell is probed, so that it finds what the flat scan finds.
    from patchcore_ops.stages.faiss_index import index_memory_bank

    section = IndexSection(factory="IVF2,Flat", search_parameters="nprobe=2")
    config = made.config.model_copy(update={"index": section})
    index_memory_bank(made.folder / "bank", config, tmp_path / "index")
    found = calibrate(
        made.folder / "embeddings",
        made.folder / "bank",
        tmp_path / "index",
        made.folder / "predictions",
        config,
        RUNTIME,
        tmp_path / "out",
    )
    expected = pd.read_parquet(made.folder / "calibration" / NORMAL_SCORES)
    np.testing.assert_allclose(found.normal["score"], expected["score"], rtol=1e-4)


def test_a_sample_is_drawn_by_seed_without_repetition() -> None:
    drawn = sampled(100, 10, seed=3)
    assert len(set(drawn.tolist())) == 10
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, sampled(100, 10, seed=3))
    assert not np.array_equal(drawn, sampled(100, 10, seed=4))


def test_a_single_train_image_leaves_nothing_to_compare_with() -> None:
    without = [np.full((1, 3, 3), np.nan, dtype=np.float32)]
    found = calibrate_normal(without, UNSCALED, CategoryConfig())
    assert found.scores.empty
    assert found.calibration.image_threshold is None
    finding = false_positives_are_as_asked(Calibration.over([], [], 0.01), 0.95)
    assert not finding.passed
    assert "add train images" in finding.sentence


def test_labelled_test_images_show_how_the_threshold_does() -> None:
    test = pd.DataFrame(
        {"score": [1.0, 2.0, 3.0, 3.0, 6.0], "is_anomaly": [False, False, False, True, True]}
    )
    made = with_test_images(Calibration.over([1.0, 2.0], [1.0, 2.0], 0.34), test)
    assert made.image_threshold == 2.0
    assert made.test is not None
    assert (made.test.good_images, made.test.false_positives) == (3, 1)
    assert made.test.recall == 1.0
    assert made.test.f1 == pytest.approx(2 * 2 / (3 + 2))
    # At 3 and more: both defects and one good image, which is F1 = 0.8; at 6 it is 2 / 3.
    assert made.test.f1_threshold == 3.0
    assert (made.test.f1_false_positives, made.test.f1_recall) == (1, 1.0)
    assert made.probability is not None
    np.testing.assert_allclose(made.probability.of([1.0, 2.0, 3.0, 6.0]), [0, 0, 0.5, 1])


def test_probabilities_are_those_of_an_isotonic_regression() -> None:
    generator = np.random.default_rng(0)
    for images in range(2, 40):
        score = generator.integers(0, 1 + images // 2, images).astype(np.float64)
        is_anomaly = generator.random(images) < (1 + score) / (3 + score.max())
        is_anomaly[:2] = False, True
        test = pd.DataFrame({"score": score, "is_anomaly": is_anomaly})
        made = with_test_images(Calibration.over([1.0], [1.0], 0.5), test)
        assert made.probability is not None
        asked = np.linspace(-1, images, 99)
        expected = IsotonicRegression(out_of_bounds="clip").fit(score, is_anomaly).predict(asked)
        np.testing.assert_allclose(made.probability.of(asked.tolist()), expected, atol=1e-12)


@pytest.mark.parametrize("seen", [0, 1, 7, 20])
def test_the_interval_of_false_positives_is_the_exact_one(seen: int) -> None:
    test = pd.DataFrame({"score": [1.0] * (20 - seen) + [9.0] * seen, "is_anomaly": False})
    made = with_test_images(Calibration.over([2.0] * 200, [2.0] * 200, 0.01), test)
    facts = false_positives_are_as_asked(made, 0.95).facts
    exact = binomtest(seen, 20).proportion_ci(0.95, method="exact")
    assert (facts["low"], facts["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize(
    ("false_positives", "rate", "passed"), [(0, 0.01, True), (5, 0.01, False), (0, 0.5, False)]
)
def test_the_share_of_false_positives_is_compared_by_a_binomial_interval(
    false_positives: int, rate: float, passed: bool
) -> None:
    scores = [1.0] * (20 - false_positives) + [9.0] * false_positives
    test = pd.DataFrame({"score": scores, "is_anomaly": False})
    made = with_test_images(Calibration.over([2.0] * 200, [2.0] * 200, rate), test)
    finding = false_positives_are_as_asked(made, 0.95)
    assert finding.passed is passed
    assert finding.facts["seen"] == false_positives / 20


@pytest.mark.parametrize(("images", "passed"), [(98, False), (99, True)])
def test_99_normal_images_guarantee_one_per_cent(images: int, passed: bool) -> None:
    finding = enough_normal_images(Calibration.over([1.0] * images, [1.0] * images, 0.01))
    assert finding.passed is passed
    assert passed or "takes 99" in finding.sentence


def test_pixels_above_their_threshold_are_compared_with_the_masks(
    made: Benchmarked, tmp_path: Path
) -> None:
    folders = [made.folder / name for name in ("embeddings", "bank", "index", "predictions")]
    found = calibrate(*folders, made.config, RUNTIME, tmp_path / "out", dataset_root=made.root)
    figures = found.calibration.test
    assert figures is not None
    images = made.scores
    above, defect = [], []
    for at, mask in enumerate(images["mask_path"]):
        if isinstance(mask, str):
            with Image.open(made.root / mask) as picture:
                resized = picture.convert("L").resize((64, 64), Image.Resampling.BILINEAR)
            levels = np.asarray(resized)
        elif images["is_anomaly"][at]:
            continue
        else:
            levels = np.zeros((64, 64), dtype=np.uint8)
        above.append(made.maps[at] > found.calibration.pixel_threshold)
        defect.append(levels >= 0.5 * 255)
    above, defect = np.stack(above), np.stack(defect)
    expected = 2 * (above & defect).sum() / (above.sum() + defect.sum())
    assert figures.segmentation_f1 == pytest.approx(expected)
    assert figures.segmentation_f1 == read_calibration(tmp_path / "out").test.segmentation_f1
