"""The metrics of one category, under the reference's names and with what users ask for besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.lost_defects import find_faint_masks, name_lost_defects
from patchcore_ops.metrics.pixel_ranking import PixelRanking, PixelSet, pixel_sets
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
_ALL_MASKED = "every pixel is marked as a defect"


def category_metrics(
    predictions: pd.DataFrame,
    anomaly_maps: npt.NDArray[np.float32],
    mask_levels: npt.NDArray[np.uint8],
    has_truth: npt.NDArray[np.bool_],
    settings: MetricsSection,
) -> dict[str, Any]:
    """Judge the predictions of one category.

    Parameters
    ----------
    predictions : DataFrame
        One row per test image with `path`, `label`, `is_anomaly` and `score`.
    anomaly_maps : ndarray of float32, shape [n, H, W]
        In the same order.
    mask_levels : ndarray of uint8, shape [n, H, W]
        Ground truth as grey levels; black for normal images.
    has_truth : ndarray of bool, shape [n]
        Whether the pixels of an image are known: normal images and those with a mask. Only these
        count in pixel metrics.
    settings : MetricsSection
        How masks become binary, and the limit of the false-positive rate for `aupro`.

    Returns
    -------
    dict
        Every name of `METRICS` with a float, NaN where undefined; `notes` with the reason for each
        NaN; `per_defect`, a list of dicts, one per defect type; `curves`, the points of `roc`,
        `pixel_roc` and `pro`, None where undefined; the counts `images`, `anomalous_images` and
        `masked_images`; `reference_masks_applied`, whether the reference's rule for masks was (it
        is not where it would take an image's whole defect for normal); `lost_defects`, see
        `name_lost_defects`.
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
    return {
        **{name: result[name] for name in METRICS},
        "notes": _notes(result, pixels),
        "per_defect": [
            {
                "defect_type": defect,
                "images": int((labels == defect).sum()),
                **_image_metrics(rank(scores[chosen], is_anomaly[chosen])),
                **_pixel_metrics(_against_normal(sets, defect), limit),
            }
            for defect in sorted(set(labels[is_anomaly]))
            for chosen in [(labels == defect) | ~is_anomaly]
        ],
        "curves": {"roc": _roc(images), **_pixel_curves(pixels, limit)},
        "images": len(predictions),
        "anomalous_images": int(is_anomaly.sum()),
        "masked_images": sum(len(each.rows) for each in sets.values() if each.is_masked),
        "reference_masks_applied": applied,
        "lost_defects": name_lost_defects(predictions["path"].tolist(), faint, sets.values()),
    }


def summary_table(by_category: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate the categories, as the reference's results.csv does.

    Parameters
    ----------
    by_category : mapping
        What `category_metrics` gave for each category.

    Returns
    -------
    DataFrame
        Column `category`, then `METRICS`; the last row is `Mean`. Undefined values (NaN) are left
        out of the mean; thresholds have none.
    """
    rows = [
        {"category": category, **{name: metrics[name] for name in METRICS}}
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


def _against_normal(sets: Mapping[tuple[str, bool], PixelSet], defect: str) -> PixelRanking:
    """Rank the pixels of one defect type's images and of the normal ones."""
    return PixelRanking.of([each for (label, _), each in sets.items() if label in (defect, NORMAL)])


def _pixel_metrics(pixels: PixelRanking, fpr_limit: float) -> dict[str, float]:
    best, threshold = f1_max(pixels.all)
    return {
        "full_pixel_auroc": auroc(pixels.reference),
        "anomaly_pixel_auroc": auroc(pixels.reference_in_masked),
        "aupro": area_under_pro(pixels.all, fpr_limit),
        "pixel_ap": average_precision(pixels.all),
        "pixel_f1_max": best,
        "pixel_f1_threshold": threshold,
    }


def _pixel_curves(
    pixels: PixelRanking, fpr_limit: float
) -> dict[str, dict[str, list[float]] | None]:
    """Compute the pixels' ROC curve and the PRO curve up to its limit, for drawing."""
    pro = None
    if pixels.all.has_both_classes:
        pro = thin_curve(*pro_curve_below(pixels.all, fpr_limit))
    return {"pixel_roc": _roc(pixels.all), "pro": pro}


def _roc(ranking: Ranking) -> dict[str, list[float]] | None:
    return thin_curve(*roc_curve(ranking)) if ranking.has_both_classes else None


def _image_metrics(images: Ranking) -> dict[str, float]:
    best, threshold = f1_max(images)
    return {
        "instance_auroc": auroc(images),
        "instance_ap": average_precision(images),
        "instance_f1_max": best,
        "instance_f1_threshold": threshold,
    }


def _notes(result: Mapping[str, float], pixels: PixelRanking) -> dict[str, str]:
    """Say why each undefined metric is undefined."""
    reasons = {}
    for name in METRICS:
        if not math.isnan(result[name]):
            continue
        if name.startswith("instance"):
            reasons[name] = _ONE_CLASS
        elif not pixels.all.has_positives:
            reasons[name] = _NO_MASKS
        else:
            reasons[name] = _ALL_MASKED
    return reasons
