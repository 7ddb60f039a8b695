"""A category's metrics: each against scikit-learn on the pixels or images that it is defined on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.category import METRICS, aupro, category_metrics, summary_table
from patchcore_ops.metrics.per_image_overlap import per_image_overlap

Floats = npt.NDArray[np.float32]
Levels = npt.NDArray[np.uint8]
LABELS = np.array(["blot", "cut", "cut", "cut", "good", "good", "hole", "hole"])
HAS_TRUTH = LABELS != "blot"
IS_ANOMALY = LABELS != "good"
SCORES = np.array([6, 5, 3, 3, 3, 1, 4, 2], dtype=np.float32)
PIXELS = (
    "full_pixel_auroc",
    "anomaly_pixel_auroc",
    "aupro",
    "aupro_0_05",
    "pixel_ap",
    "pixel_f1_max",
)
EVERY = np.ones(len(LABELS), dtype=bool)


@pytest.fixture
def mask_levels() -> Levels:
    """Draw masks with grey edges; the blot, 0, and the normal images, 4 and 5, have none."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=(8, 24, 24)), (0, 2, 2))
    levels = np.clip((smooth / smooth.std() - 0.4) * 400, 0, 255).astype(np.uint8)
    levels[[0, 4, 5]] = 0
    return levels


@pytest.fixture
def maps(mask_levels: Levels) -> Floats:
    noise = np.random.default_rng(1).normal(size=mask_levels.shape)
    return np.round(mask_levels / 255 + noise, 1).astype(np.float32)


def judge(
    maps: Floats,
    levels: Levels,
    settings: MetricsSection | None = None,
    has_truth: npt.NDArray[np.bool_] = HAS_TRUTH,
    chosen: npt.NDArray[np.bool_] = EVERY,
) -> dict[str, Any]:
    """Judge the chosen images, which must leave notes on whatever is undefined."""
    table = pd.DataFrame(
        {
            "path": [f"nut/test/{label}/{at}.png" for at, label in enumerate(LABELS)],
            "label": LABELS,
            "is_anomaly": IS_ANOMALY,
            "score": SCORES,
        }
    )
    result = category_metrics(
        table[chosen],
        maps[chosen],
        levels[chosen],
        has_truth[chosen],
        settings or MetricsSection(),
    )
    assert set(METRICS) < set(result)
    assert set(result["notes"]) == {name for name in METRICS if math.isnan(result[name])}
    json.dumps(result)
    return result


def best_f1(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    precision, recall, _ = precision_recall_curve(positive, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def literal_image_metrics(chosen: npt.NDArray[np.bool_] = EVERY) -> dict[str, float]:
    positive, scores = IS_ANOMALY[chosen], SCORES[chosen]
    return {
        "instance_auroc": roc_auc_score(positive, scores),
        "instance_ap": average_precision_score(positive, scores),
        "instance_f1_max": best_f1(positive, scores),
    }


def literal_pixel_metrics(
    maps: Floats, levels: Levels, settings: MetricsSection
) -> dict[str, float]:
    masks = levels >= settings.mask_threshold * 255
    # By the reference's rule, unless it would take the whole defect of an image for normal.
    keeps_all = all(
        (level == 255).any() or not mask.any() for level, mask in zip(levels, masks, strict=True)
    )
    reference = levels == 255 if settings.reference_masks and keeps_all else masks
    anomalous = [image for image in range(len(levels)) if levels[image].max() > 0]
    return {
        "full_pixel_auroc": roc_auc_score(reference.ravel(), maps.ravel()),
        "anomaly_pixel_auroc": roc_auc_score(reference[anomalous].ravel(), maps[anomalous].ravel()),
        "aupro": aupro(maps, masks, settings.aupro_fpr_limit),
        "aupro_0_05": aupro(maps, masks, 0.05),
        "pixel_ap": average_precision_score(masks.ravel(), maps.ravel()),
        "pixel_f1_max": best_f1(masks.ravel(), maps.ravel()),
    }


def assert_metrics(got: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=1e-9), name


SETTINGS = [
    MetricsSection(),
    MetricsSection(reference_masks=False),
    MetricsSection(mask_threshold=0.2, aupro_fpr_limit=0.1),
    MetricsSection(mask_threshold=1.0),
]


@pytest.mark.parametrize("brightest", [255, 200])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda section: section.model_dump_json())
def test_metrics_and_their_curves_equal_slow_ones(
    maps: Floats, mask_levels: Levels, settings: MetricsSection, brightest: int
) -> None:
    if settings.mask_threshold < 1:
        mask_levels[6] = np.minimum(mask_levels[6], brightest)
    maps[0] = 1000  # The truth of its pixels is unknown.
    result = judge(maps, mask_levels, settings)
    known = maps[HAS_TRUTH], mask_levels[HAS_TRUTH]
    assert_metrics(result, literal_image_metrics())
    assert_metrics(result, literal_pixel_metrics(*known, settings))
    # So few normal pixels say nothing of rates of 1 in 10,000.
    assert list(result["notes"]) == ["aupimo"]
    assert "too few pixels" in result["notes"]["aupimo"]
    assert (result["images"], result["anomalous_images"], result["masked_images"]) == (8, 6, 5)
    for kind, scores, positive in (
        ("instance", SCORES, IS_ANOMALY),
        ("pixel", known[0], known[1] >= settings.mask_threshold * 255),
    ):
        found = scores >= np.float32(result[f"{kind}_f1_threshold"])
        f1 = 2 * (found & positive).sum() / (found.sum() + positive.sum())
        assert f1 == pytest.approx(result[f"{kind}_f1_max"])
    for curve, metric, end in (
        ("roc", "instance_auroc", 1.0),
        ("pixel_roc", "full_pixel_auroc", 1.0),
        ("pro", "aupro", settings.aupro_fpr_limit),
    ):
        x, y = result["curves"][curve]["x"], result["curves"][curve]["y"]
        assert (x[0], y[0], x[-1]) == (0, 0, end)
        assert np.trapezoid(y, x) / end == pytest.approx(result[metric], abs=0.002)


def test_each_defect_type_is_judged_against_all_normal_images(
    maps: Floats, mask_levels: Levels
) -> None:
    table = judge(maps, mask_levels)["per_defect"]
    assert [(row["defect_type"], row["images"]) for row in table] == [
        ("blot", 1),
        ("cut", 3),
        ("hole", 2),
    ]
    for row in table:
        chosen = (row["defect_type"] == LABELS) | ~IS_ANOMALY
        assert_metrics(row, literal_image_metrics(chosen))
        if row["defect_type"] != "blot":
            expected = literal_pixel_metrics(maps[chosen], mask_levels[chosen], MetricsSection())
            assert_metrics(row, expected)
    assert all(math.isnan(table[0][name]) for name in PIXELS)


def test_whatever_is_undefined_is_nan_with_a_reason(maps: Floats, mask_levels: Levels) -> None:
    black, white = np.zeros_like(mask_levels), np.full_like(mask_levels, 255)
    no_mask = "no test image has a ground-truth mask"
    pixels = {*PIXELS, "pixel_f1_threshold", "aupimo"}
    for has_truth in (~IS_ANOMALY, ~EVERY):
        result = judge(maps, black, has_truth=has_truth)
        assert {name for name, why in result["notes"].items() if no_mask in why} == pixels
        assert_metrics(result, literal_image_metrics())
    for chosen, defects in ((IS_ANOMALY, 3), (~IS_ANOMALY, 0)):
        result = judge(maps, mask_levels, chosen=chosen)
        one_class = {name for name, why in result["notes"].items() if "all defective" in why}
        assert one_class == {name for name in METRICS if name.startswith("instance")}
        assert len(result["per_defect"]) == defects
    assert judge(maps, mask_levels, chosen=IS_ANOMALY)["notes"]["aupimo"] == (
        "there are no normal test images"
    )
    result = judge(maps, white, has_truth=EVERY, chosen=IS_ANOMALY)
    for name in ("full_pixel_auroc", "anomaly_pixel_auroc", "aupro"):
        assert "every pixel" in result["notes"][name]


def test_a_faint_mask_counts_as_the_pixels_are_judged(maps: Floats, mask_levels: Levels) -> None:
    by_threshold = MetricsSection(reference_masks=False)
    mask_levels[7] = 0
    black = judge(maps, mask_levels, by_threshold)
    mask_levels[7, 3, 3] = 100
    faint = judge(maps, mask_levels, by_threshold)
    assert faint["anomaly_pixel_auroc"] == black["anomaly_pixel_auroc"]
    assert faint["masked_images"] == black["masked_images"] == 4
    # The reference takes a mask with any level above black for one.
    assert judge(maps, mask_levels)["masked_images"] == 5


def test_overlaps_are_taken_at_rates_of_the_normal_images() -> None:
    random = np.random.default_rng(3)
    levels = np.zeros((8, 80, 80), dtype=np.uint8)
    for at in np.flatnonzero(IS_ANOMALY):
        levels[at, 20:30, 30:42] = 255
    maps = (random.gamma(2, 1, levels.shape) + levels / 30).astype(np.float32)
    result = judge(maps, levels, has_truth=EVERY)
    normal = np.sort(maps[~IS_ANOMALY], axis=None)
    expected = per_image_overlap(
        normal, [maps[at][levels[at] > 0] for at in range(8) if IS_ANOMALY[at]]
    )
    assert result["aupimo"] == pytest.approx(expected.mean())
    assert 0.05 < result["aupimo"] < 0.95
    [cuts] = [row for row in result["per_defect"] if row["defect_type"] == "cut"]
    assert cuts["aupimo"] == pytest.approx(expected[1:4].mean())


def test_equal_normal_pixels_leave_no_overlap_and_the_reason_says_so() -> None:
    levels = np.zeros((8, 80, 80), dtype=np.uint8)
    levels[IS_ANOMALY, 20:30, 30:42] = 255
    result = judge((levels / 255).astype(np.float32), levels, has_truth=EVERY)
    assert math.isnan(result["aupimo"])
    assert "too many with the greatest value" in result["notes"]["aupimo"]


def test_summary_means_leave_nan_out_and_thresholds_have_none() -> None:
    def of(value: float, **others: float) -> dict[str, float]:
        return {**dict.fromkeys(METRICS, value), **others}

    nothing = math.nan
    table = summary_table(
        {
            "nut": of(0.5, aupro=nothing, pixel_ap=nothing),
            "bolt": of(0.9, aupro=0.7, pixel_ap=nothing),
            "pin": of(0.7, pixel_ap=nothing),
        }
    ).set_index("category")
    assert table.index.tolist() == ["nut", "bolt", "pin", "Mean"]
    assert tuple(table.columns) == METRICS
    for name in METRICS:
        mean = {"aupro": 0.7, "pixel_ap": nothing}.get(name, 0.7)
        expected = nothing if name.endswith("threshold") else mean
        assert table.loc["Mean", name] == pytest.approx(expected, nan_ok=True)
    assert math.isnan(table.loc["nut", "aupro"])


def test_summary_of_nothing_is_a_mean_row_without_values() -> None:
    table = summary_table({})
    assert table["category"].tolist() == ["Mean"]
    assert table[list(METRICS)].isna().all(axis=None)
