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

Floats = npt.NDArray[np.float32]
Levels = npt.NDArray[np.uint8]
LABELS = ["blot", "cut", "cut", "cut", "good", "good", "hole", "hole"]
PIXELS = ("full_pixel_auroc", "anomaly_pixel_auroc", "aupro", "pixel_ap", "pixel_f1_max")
IMAGES = ("instance_auroc", "instance_ap", "instance_f1_max")


@pytest.fixture
def predictions() -> pd.DataFrame:
    labels = np.array(LABELS)
    scores = np.array([6, 5, 3, 3, 3, 1, 4, 2], dtype=np.float32)
    paths = [f"nut/test/{label}/{at}.png" for at, label in enumerate(LABELS)]
    return pd.DataFrame(
        {"path": paths, "label": labels, "is_anomaly": labels != "good", "score": scores}
    )


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


HAS_TRUTH = np.array([label != "blot" for label in LABELS])


def best_f1(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    precision, recall, _ = precision_recall_curve(positive, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def literal_image_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    positive, scores = predictions["is_anomaly"].to_numpy(), predictions["score"].to_numpy()
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
        (mask == 255).any() or not (mask >= settings.mask_threshold * 255).any() for mask in levels
    )
    reference = levels == 255 if settings.reference_masks and keeps_all else masks
    anomalous = [image for image in range(len(levels)) if levels[image].max() > 0]
    return {
        "full_pixel_auroc": roc_auc_score(reference.ravel(), maps.ravel()),
        "anomaly_pixel_auroc": roc_auc_score(reference[anomalous].ravel(), maps[anomalous].ravel()),
        "aupro": aupro(maps, masks, settings.aupro_fpr_limit),
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
def test_metrics_equal_slow_ones(
    predictions: pd.DataFrame,
    maps: Floats,
    mask_levels: Levels,
    settings: MetricsSection,
    brightest: int,
) -> None:
    if settings.mask_threshold < 1:
        mask_levels[6] = np.minimum(mask_levels[6], brightest)
    result = category_metrics(predictions, maps, mask_levels, HAS_TRUTH, settings)
    assert set(METRICS) < set(result)
    assert_metrics(result, literal_image_metrics(predictions))
    known = literal_pixel_metrics(maps[HAS_TRUTH], mask_levels[HAS_TRUTH], settings)
    assert_metrics(result, known)
    assert result["notes"] == {}
    assert (result["images"], result["anomalous_images"], result["masked_images"]) == (8, 6, 5)
    json.dumps(result)


def test_thresholds_reach_the_best_f1(
    predictions: pd.DataFrame, maps: Floats, mask_levels: Levels
) -> None:
    result = category_metrics(predictions, maps, mask_levels, HAS_TRUTH, MetricsSection())
    for kind, scores, positive in (
        ("instance", predictions["score"].to_numpy(), predictions["is_anomaly"].to_numpy()),
        ("pixel", maps[HAS_TRUTH], mask_levels[HAS_TRUTH] >= 127.5),
    ):
        found = scores >= np.float32(result[f"{kind}_f1_threshold"])
        f1 = 2 * (found & positive).sum() / (found.sum() + positive.sum())
        assert f1 == pytest.approx(result[f"{kind}_f1_max"])


def test_each_defect_type_is_judged_against_all_normal_images(
    predictions: pd.DataFrame, maps: Floats, mask_levels: Levels
) -> None:
    settings = MetricsSection()
    result = category_metrics(predictions, maps, mask_levels, HAS_TRUTH, settings)
    table = {row["defect_type"]: row for row in result["per_defect"]}
    assert [row["defect_type"] for row in result["per_defect"]] == ["blot", "cut", "hole"]
    assert [row["images"] for row in result["per_defect"]] == [1, 3, 2]
    labels = predictions["label"].to_numpy(dtype=str)
    for defect, row in table.items():
        chosen = (labels == defect) | (labels == "good")
        assert_metrics(row, literal_image_metrics(predictions[chosen]))
        if defect != "blot":
            assert_metrics(row, literal_pixel_metrics(maps[chosen], mask_levels[chosen], settings))
    assert all(math.isnan(table["blot"][name]) for name in PIXELS)


def test_curves_enclose_the_areas_that_the_metrics_state(
    predictions: pd.DataFrame, maps: Floats, mask_levels: Levels
) -> None:
    settings = MetricsSection(reference_masks=False)
    result = category_metrics(predictions, maps, mask_levels, HAS_TRUTH, settings)
    for curve, metric, end in (
        ("roc", "instance_auroc", 1.0),
        ("pixel_roc", "full_pixel_auroc", 1.0),
        ("pro", "aupro", settings.aupro_fpr_limit),
    ):
        x, y = result["curves"][curve]["x"], result["curves"][curve]["y"]
        assert (x[0], y[0], x[-1]) == (0, 0, end)
        assert np.trapezoid(y, x) / end == pytest.approx(result[metric], abs=0.002)


def test_images_of_unknown_truth_do_not_count_in_pixel_metrics(
    predictions: pd.DataFrame, maps: Floats, mask_levels: Levels
) -> None:
    result = category_metrics(predictions, maps, mask_levels, HAS_TRUTH, MetricsSection())
    maps[0] = 1000
    louder = category_metrics(predictions, maps, mask_levels, HAS_TRUTH, MetricsSection())
    assert {name: louder[name] for name in PIXELS} == {name: result[name] for name in PIXELS}


def test_no_masks_at_all_is_nan_with_a_reason(predictions: pd.DataFrame, maps: Floats) -> None:
    nothing = np.zeros(maps.shape, dtype=np.uint8)
    normal = ~predictions["is_anomaly"].to_numpy()
    for has_truth in (normal, np.zeros(8, dtype=bool)):
        result = category_metrics(predictions, maps, nothing, has_truth, MetricsSection())
        assert all(math.isnan(result[name]) for name in PIXELS)
        assert set(result["notes"]) == {*PIXELS, "pixel_f1_threshold"}
        assert all(
            "no test image has a ground-truth mask" in why for why in result["notes"].values()
        )
        assert_metrics(result, literal_image_metrics(predictions))


@pytest.mark.parametrize("defective", [True, False])
def test_one_class_of_images_is_nan_with_a_reason(
    predictions: pd.DataFrame, maps: Floats, mask_levels: Levels, defective: bool
) -> None:
    chosen = predictions["is_anomaly"].to_numpy() == defective
    result = category_metrics(
        predictions[chosen], maps[chosen], mask_levels[chosen], HAS_TRUTH[chosen], MetricsSection()
    )
    assert math.isnan(result["instance_auroc"])
    assert "all normal or all defective" in result["notes"]["instance_auroc"]
    assert set(result["notes"]) == {name for name in METRICS if math.isnan(result[name])}
    assert len(result["per_defect"]) == (3 if defective else 0)


def test_masks_without_a_normal_pixel_are_nan_with_a_reason(
    predictions: pd.DataFrame, maps: Floats
) -> None:
    broken = predictions["is_anomaly"].to_numpy()
    white = np.full(maps[broken].shape, 255, dtype=np.uint8)
    result = category_metrics(
        predictions[broken], maps[broken], white, np.ones(6, dtype=bool), MetricsSection()
    )
    for name in ("full_pixel_auroc", "anomaly_pixel_auroc", "aupro"):
        assert math.isnan(result[name])
        assert "every pixel" in result["notes"][name]


def metrics_of(value: float, **others: float) -> dict[str, float]:
    return {**dict.fromkeys(METRICS, value), **others}


def test_summary_means_leave_nan_out_and_thresholds_have_none() -> None:
    table = summary_table(
        {
            "nut": metrics_of(0.5, aupro=math.nan),
            "bolt": metrics_of(0.9, aupro=0.7, pixel_ap=math.nan),
            "pin": metrics_of(0.7, pixel_ap=math.nan),
        }
    ).set_index("category")
    assert table.index.tolist() == ["nut", "bolt", "pin", "Mean"]
    assert tuple(table.columns) == METRICS
    mean = table.loc["Mean"]
    for name in METRICS:
        values = [value for value in table[name].tolist()[:3] if not math.isnan(value)]
        if name.endswith("threshold"):
            assert math.isnan(mean[name])
        else:
            assert mean[name] == pytest.approx(sum(values) / len(values))
    assert math.isnan(table.loc["nut", "aupro"])


def test_summary_of_a_metric_that_nobody_has_is_nan() -> None:
    table = summary_table({"nut": metrics_of(0.5, aupro=math.nan)})
    assert table["aupro"].isna().all()
    assert table["instance_auroc"].tolist() == [0.5, 0.5]


def test_summary_of_nothing_is_a_mean_row_without_values() -> None:
    table = summary_table({})
    assert table["category"].tolist() == ["Mean"]
    assert table[list(METRICS)].isna().all(axis=None)
