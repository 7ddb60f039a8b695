"""The metrics of one category, under the reference's names where it has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.lost_defects import find_faint_masks, name_lost_defects
from patchcore_ops.metrics.per_image_overlap import per_image_overlap
from patchcore_ops.metrics.pixel_ranking import PixelRanking, PixelSet, is_anomalous, pixel_sets
from patchcore_ops.metrics.ranking import (
    Ranking,
    auroc,
    average_precision,
    f1_max,
    rank,
    roc_curve,
    thin_curve,
)
from patchcore_ops.metrics.region_overlap import area_under_pro, pro_curve_below
from patchcore_ops.metrics.region_overlap import aupro as aupro  # noqa: PLC0414 - part of this API

METRICS = (
    "instance_auroc",
    "full_pixel_auroc",
    "anomaly_pixel_auroc",
    "aupro",
    "aupro_0_05",
    "aupimo",
    "instance_ap",
    "instance_f1_max",
    "instance_f1_threshold",
    "pixel_ap",
    "pixel_f1_max",
    "pixel_f1_threshold",
)
JUDGED_BY_REFERENCE_MASKS = ("full_pixel_auroc", "anomaly_pixel_auroc")
MEAN = "Mean"
# Normal images share one set of pixels, whatever their folder is called.
NORMAL = ""
_ONE_CLASS = "the test images are all normal or all defective"
_NO_MASKS = "no test image has a ground-truth mask with a defect in it"
_NO_NORMAL = "there are no normal test images"
_FEW_NORMAL = (
    "the normal test images have too few pixels, or too many with the greatest value, for a "
    "false-positive rate of 0.0001"
)
# MVTec AD 2's, see Heckler-Kram et al., "The MVTec AD 2 Dataset" (2025).
_STRICT_LIMIT = 0.05
_ALL_MASKED = "every pixel is marked as a defect"

Curve = dict[str, list[float]]


def category_metrics(
    predictions: pd.DataFrame,
    anomaly_maps: npt.NDArray[np.float32],
    mask_levels: npt.NDArray[np.uint8],
    has_truth: npt.NDArray[np.bool_],
    settings: MetricsSection,
) -> dict[str, Any]:
    """Compute the metrics of one category.

    Parameters
    ----------
    predictions : DataFrame
        One row per test image with `path`, `label`, `is_anomaly` and `score`.
    anomaly_maps : ndarray of float32, shape [n, H, W]
    mask_levels : ndarray of uint8, shape [n, H, W]
        Ground truth as grey levels; black for normal images.
    has_truth : ndarray of bool, shape [n]
        Normal images and those with a mask. Only these count in pixel metrics.
    settings : MetricsSection

    Returns
    -------
    dict
        Every name of `METRICS` with a float, NaN where undefined; `notes`, the reason for each NaN;
        `per_defect`, a list of dicts by defect type; `curves`, points of `roc`, `pixel_roc` and
        `pro`, None where undefined; the counts `images`, `anomalous_images` and `masked_images`;
        `reference_masks_applied`, false where the reference's rule for masks would take the whole
        defect of an image for normal; `lost_defects`, see `name_lost_defects`.

    Examples
    --------
    >>> predictions = pd.DataFrame(
    ...     {"path": ["0.png", "1.png"], "label": ["good", "cut"],
    ...      "is_anomaly": [False, True], "score": [0.1, 0.9]})
    >>> maps = np.array([[[0.1, 0.2]], [[0.1, 0.9]]], dtype=np.float32)
    >>> masks = np.array([[[0, 0]], [[0, 255]]], dtype=np.uint8)
    >>> result = category_metrics(predictions, maps, masks, masks[:, 0, 0] == 0, MetricsSection())
    >>> result["instance_auroc"], result["aupro"]
    (1.0, 1.0)
    """
    scores = predictions["score"].to_numpy(dtype=np.float64)
    is_anomaly = predictions["is_anomaly"].to_numpy(dtype=bool)
    labels = predictions["label"].to_numpy(dtype=str)
    faint = find_faint_masks(mask_levels, has_truth & is_anomaly, settings)
    applied = settings.reference_masks and not bool(faint.without_white.any())
    sets = pixel_sets(
        anomaly_maps,
        mask_levels,
        np.where(is_anomaly, labels, NORMAL),
        has_truth,
        settings.model_copy(update={"reference_masks": applied}),
    )
    images = rank(scores, is_anomaly)
    pixels = PixelRanking.of(list(sets.values()))
    limit = settings.aupro_fpr_limit
    result = {**_image_metrics(images), **_pixel_metrics(pixels, limit)}
    overlaps = _overlaps(anomaly_maps, mask_levels, has_truth & is_anomaly, sets, settings)
    result["aupimo"] = _mean(overlaps)
    per_defect = []
    for defect in sorted(set(labels[is_anomaly])):
        chosen = (labels == defect) | ~is_anomaly
        its_sets = [each for (label, _), each in sets.items() if label in (defect, NORMAL)]
        per_defect.append(
            {
                "defect_type": defect,
                "images": int((labels == defect).sum()),
                **_image_metrics(rank(scores[chosen], is_anomaly[chosen])),
                **_pixel_metrics(PixelRanking.of(its_sets), limit),
                "aupimo": _mean(overlaps[labels == defect]),
            }
        )
    return {
        **{name: result[name] for name in METRICS},
        "notes": _notes(result, pixels, has_normal=not bool(is_anomaly.all())),
        "per_defect": per_defect,
        "curves": {
            "roc": _roc(images),
            "pixel_roc": _roc(pixels.reference),
            "pro": _pro(pixels.all, limit),
        },
        "images": len(predictions),
        "anomalous_images": int(is_anomaly.sum()),
        "masked_images": sum(len(each.rows) for each in sets.values() if each.is_masked),
        "reference_masks_applied": applied,
        "lost_defects": name_lost_defects(predictions["path"].tolist(), faint, sets.values()),
    }


def summary_table(by_category: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate the metrics of categories, as the reference's results.csv does.

    The columns are `category`, then `METRICS`; the last row is `Mean`, over the defined values.
    Thresholds have no mean.

    Examples
    --------
    >>> table = summary_table({"nut": dict.fromkeys(METRICS, 0.5)})
    >>> table["category"].tolist(), table["aupro"].tolist()
    (['nut', 'Mean'], [0.5, 0.5])
    """
    rows = [
        # An earlier release did not have them all.
        {"category": category, **{name: metrics.get(name, math.nan) for name in METRICS}}
        for category, metrics in by_category.items()
    ]
    table = pd.DataFrame(rows, columns=["category", *METRICS])
    table[list(METRICS)] = table[list(METRICS)].astype(float)
    return with_mean(table)


def with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Add the row `Mean` to rows of categories; see `summary_table`."""
    mean = {
        name: math.nan if name.endswith("threshold") else table[name].mean() for name in METRICS
    }
    return pd.concat([table, pd.DataFrame([{"category": MEAN, **mean}])], ignore_index=True)


def _image_metrics(images: Ranking) -> dict[str, float]:
    best, threshold = f1_max(images)
    return {
        "instance_auroc": auroc(images),
        "instance_ap": average_precision(images),
        "instance_f1_max": best,
        "instance_f1_threshold": threshold,
    }


def _pixel_metrics(pixels: PixelRanking, fpr_limit: float) -> dict[str, float]:
    best, threshold = f1_max(pixels.all)
    return {
        "full_pixel_auroc": auroc(pixels.reference),
        "anomaly_pixel_auroc": auroc(pixels.reference_in_masked),
        "aupro": area_under_pro(pixels.all, fpr_limit),
        "aupro_0_05": area_under_pro(pixels.all, _STRICT_LIMIT),
        "pixel_ap": average_precision(pixels.all),
        "pixel_f1_max": best,
        "pixel_f1_threshold": threshold,
    }


def _overlaps(
    anomaly_maps: npt.NDArray[np.float32],
    mask_levels: npt.NDArray[np.uint8],
    is_defective: npt.NDArray[np.bool_],
    sets: Mapping[tuple[str, bool], PixelSet],
    settings: MetricsSection,
) -> npt.NDArray[np.float64]:
    """Return each image's overlap at the rate of the normal images; NaN without a mask."""
    overlaps = np.full(len(mask_levels), np.nan)
    masks = is_anomalous(mask_levels, settings)
    chosen = np.flatnonzero(is_defective & masks.any(axis=(1, 2)))
    normal = sets.get((NORMAL, False))
    if normal is not None:
        defects = (np.asarray(anomaly_maps[at])[masks[at]] for at in chosen)
        overlaps[chosen] = per_image_overlap(normal.normal, defects)
    return overlaps


def _mean(overlaps: npt.NDArray[np.float64]) -> float:
    known = overlaps[~np.isnan(overlaps)]
    return float(known.mean()) if len(known) else math.nan


def _roc(ranking: Ranking) -> Curve | None:
    return thin_curve(*roc_curve(ranking)) if ranking.has_both_classes else None


def _pro(ranking: Ranking, limit: float) -> Curve | None:
    return thin_curve(*pro_curve_below(ranking, limit)) if ranking.has_both_classes else None


def _notes(result: Mapping[str, float], pixels: PixelRanking, has_normal: bool) -> dict[str, str]:
    """Say why each undefined metric is undefined."""
    of_pixels = _ALL_MASKED if pixels.all.has_positives else _NO_MASKS
    undefined = {
        name: _ONE_CLASS if name.startswith("instance") else of_pixels
        for name in METRICS
        if math.isnan(result[name])
    }
    if "aupimo" in undefined and not math.isnan(result["aupro"]):
        undefined["aupimo"] = _FEW_NORMAL if has_normal else _NO_NORMAL
    return undefined
