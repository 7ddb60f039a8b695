"""The metrics of one category, under the reference's names and with what users ask for besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.ranking import (
    Ranking,
    auroc,
    average_precision,
    f1_max,
    rank,
    roc_curve,
    thin_curve,
)
from patchcore_ops.region_overlap import area_under_pro, pro_curve_below, region_weights
from patchcore_ops.region_overlap import aupro as aupro  # noqa: PLC0414 - part of this API
from patchcore_ops.sections import MetricsSection

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
MEAN = "Mean"
_ONE_CLASS = "the test images are all normal or all defective"
_NO_MASKS = "no test image has a ground-truth mask with a defect in it"
_NO_WHITE = "no mask has a fully white pixel, which metrics.reference_masks asks for"
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
        One row per test image with `label`, `is_anomaly` and `score`.
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
        `masked_images`.
    """
    is_anomaly = predictions["is_anomaly"].to_numpy(dtype=bool)
    images, _ = rank(predictions["score"].to_numpy(dtype=np.float64), is_anomaly)
    pixels = RankedPixels.from_maps(anomaly_maps[has_truth], mask_levels[has_truth], settings)
    labels = predictions["label"].to_numpy(dtype=str)
    result = {**_image_metrics(images), **pixels.metrics()}
    return {
        **{name: result[name] for name in METRICS},
        "notes": _notes(result, images, pixels),
        "per_defect": [
            {
                "defect_type": defect,
                "images": int((labels == defect).sum()),
                **_image_metrics(
                    rank(
                        predictions["score"].to_numpy(dtype=np.float64)[chosen], is_anomaly[chosen]
                    )[0]
                ),
                **pixels.of_images(chosen[has_truth]).metrics(),
            }
            for defect in sorted(set(labels[is_anomaly]))
            for chosen in [(labels == defect) | ~is_anomaly]
        ],
        "curves": {"roc": _roc(images), **pixels.curves()},
        "images": len(predictions),
        "anomalous_images": int(is_anomaly.sum()),
        "masked_images": int(pixels.is_masked.sum()),
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


@dataclass(frozen=True)
class RankedPixels:
    """The pixels of several images, sorted once by descending score.

    Attributes
    ----------
    ranking : Ranking
        Labelled by `mask_threshold`.
    reference : Ranking
        The same scores, labelled for the metrics that the reference prints too.
    image_of_pixel : ndarray of int32
        Which image each ranked pixel belongs to.
    region_weights : ndarray of float64
        What each ranked pixel adds to the per-region overlap.
    is_masked : ndarray of bool, shape [images]
        Whether an image's mask is not empty.
    fpr_limit : float
        Limit of the false-positive rate for `aupro`.
    """

    ranking: Ranking
    reference: Ranking
    image_of_pixel: npt.NDArray[np.int32]
    region_weights: npt.NDArray[np.float64]
    is_masked: npt.NDArray[np.bool_]
    fpr_limit: float

    @classmethod
    def from_maps(
        cls,
        anomaly_maps: npt.NDArray[np.float32],
        mask_levels: npt.NDArray[np.uint8],
        settings: MetricsSection,
    ) -> RankedPixels:
        """Sort the pixels of anomaly maps, shape [n, H, W], with their masks."""
        masks = mask_levels >= settings.mask_threshold * 255
        ranking, order = rank(anomaly_maps.ravel(), masks.ravel())
        reference = ranking
        if settings.reference_masks:
            reference = Ranking(ranking.scores, (mask_levels == 255).ravel()[order])
        return cls(
            ranking=ranking,
            reference=reference,
            image_of_pixel=(order // max(masks[:1].size, 1)).astype(np.int32),
            region_weights=region_weights(masks).ravel()[order],
            is_masked=np.asarray(mask_levels.any(axis=(1, 2))),
            fpr_limit=settings.aupro_fpr_limit,
        )

    def of_images(self, chosen: npt.NDArray[np.bool_]) -> RankedPixels:
        """Keep the pixels of some images, without sorting again."""
        kept = chosen[self.image_of_pixel]
        return RankedPixels(
            ranking=self.ranking.where(kept),
            reference=self.reference.where(kept),
            image_of_pixel=self.image_of_pixel[kept],
            region_weights=self.region_weights[kept],
            is_masked=self.is_masked & chosen,
            fpr_limit=self.fpr_limit,
        )

    def metrics(self) -> dict[str, float]:
        """Compute every pixel metric."""
        best, threshold = f1_max(self.ranking)
        in_masked_image = self.is_masked[self.image_of_pixel]
        return {
            "full_pixel_auroc": auroc(self.reference),
            "anomaly_pixel_auroc": auroc(self.reference.where(in_masked_image)),
            "aupro": area_under_pro(self.ranking, self.region_weights, self.fpr_limit),
            "pixel_ap": average_precision(self.ranking),
            "pixel_f1_max": best,
            "pixel_f1_threshold": threshold,
        }

    def curves(self) -> dict[str, dict[str, list[float]] | None]:
        """Compute the pixels' ROC curve and the PRO curve up to its limit, for drawing."""
        pro = None
        if self.ranking.has_both_classes:
            pro = thin_curve(*pro_curve_below(self.ranking, self.region_weights, self.fpr_limit))
        return {"pixel_roc": _roc(self.ranking), "pro": pro}


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


def _notes(result: Mapping[str, float], images: Ranking, pixels: RankedPixels) -> dict[str, str]:
    """Say why each undefined metric is undefined."""
    reasons = {}
    for name in METRICS:
        if not math.isnan(result[name]):
            continue
        if name.startswith("instance"):
            reasons[name] = _ONE_CLASS
        elif not pixels.ranking.positive.any():
            reasons[name] = _NO_MASKS
        elif name.endswith("pixel_auroc") and not pixels.reference.positive.any():
            reasons[name] = _NO_WHITE
        else:
            reasons[name] = _ALL_MASKED
    return reasons
