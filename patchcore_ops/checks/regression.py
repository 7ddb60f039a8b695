"""Check of a category's metrics against those of the materialisation before.

`instance_auroc` needs only scores. It is compared on the test images that both materialisations
scored, by a paired bootstrap: a drop counts if it exceeds the tolerance and its confidence interval
does not reach zero. Pixel metrics are kept without their pixels. They are compared by the tolerance
alone, and only if images, masks, how images are resized and cut, the section `metrics` and the code
that measures are the same: then the pixels are the same too, and a change is not chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from patchcore_ops.checks.finding import Finding, counted
from patchcore_ops.config.load import section_hash
from patchcore_ops.config.sections import CategoryConfig, ChecksSection
from patchcore_ops.metrics.bootstrap import RESAMPLES, auroc_change, auroc_interval
from patchcore_ops.stages.category_metrics import read_metrics
from patchcore_ops.stages.layout import COMPARED_SCORES, read_scores

PIXEL_METRICS = ("full_pixel_auroc", "anomaly_pixel_auroc", "aupro")
_IMAGE = ["path", "fingerprint", "is_anomaly"]
_JUDGED_BY = "judged_by"
_COLUMNS = ["metric", "before", "now", "change", "low", "high", "worse"]


@dataclass(frozen=True, eq=False)
class Judged:
    """The metrics of a category, and the rows of `compared_scores.parquet`."""

    metrics: Mapping[str, Any]
    images: pd.DataFrame


def keep_for_comparison(
    metrics: Mapping[str, Any], predictions: Path, settings: CategoryConfig, folder: Path
) -> Judged:
    """Write the scores that the next materialisation will be compared with."""
    content = read_scores(predictions)[
        ["path", "fingerprint", "mask_fingerprint", "is_anomaly", "score"]
    ].copy()
    content[_JUDGED_BY] = section_hash(settings.metrics, settings.dataset)
    content.to_parquet(folder / COMPARED_SCORES, index=False)
    return Judged(metrics, content)


def read_judged(folder: Path | None) -> Judged | None:
    """Read an earlier version of the artefact, None if there is none that can be compared."""
    if folder is None or not (folder / COMPARED_SCORES).is_file():
        return None
    return Judged(read_metrics(folder), pd.read_parquet(folder / COMPARED_SCORES))


def metrics_did_not_drop(
    before: Judged | None, now: Judged, checks: ChecksSection, is_same_code: bool = True
) -> Finding:
    """Check that no metric is worse than in the materialisation before, beyond noise.

    `is_same_code` tells whether the code that measures is that of the materialisation before.
    """
    facts = _present_interval(now, checks.confidence)
    if before is None:
        return Finding(True, "This is the first materialisation that can be compared.", facts=facts)
    shared = before.images.merge(now.images, on=_IMAGE, suffixes=("_before", "_now"))
    rows = []
    remark = f"on the same {counted(len(shared), 'test image')}"
    if not len(shared) == len(before.images) == len(now.images):
        remark = (
            f"on the {counted(len(shared), 'test image')} scored both times "
            f"({len(before.images):,} before, {len(now.images):,} now)"
        )
    if shared["is_anomaly"].nunique() == 2:
        rows.append(_compare_images(shared, checks))
    else:
        remark += "; instance_auroc cannot be compared: too few test images in common"
    obstacle = _obstacle(before, now, shared, is_same_code)
    if obstacle:
        remark += f"; pixel metrics cannot be compared: {obstacle}"
    else:
        rows.extend(_compare_pixels(before, now, checks.regression_tolerance))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    facts |= {
        "compared": table.drop(columns="worse"),
        "compared_images": len(shared),
        "is_paired": len(shared) > 0,
        "tolerance": checks.regression_tolerance,
    }
    worse = table[table["worse"].astype(bool)]
    if worse.empty:
        what = "Nothing could be compared" if table.empty else "No metric has dropped"
        return Finding(True, f"{what}, {remark}.", facts=facts)
    return Finding(
        checks.regression == "ignore",
        f"{_fall(worse, checks)}, {remark}; compare what has changed since: configuration, images, "
        "weights, packages.",
        is_error=checks.regression == "fail",
        facts=facts,
    )


def _present_interval(now: Judged, confidence: float) -> dict[str, Any]:
    is_anomaly = now.images["is_anomaly"].to_numpy(dtype=bool)
    if is_anomaly.all() or not is_anomaly.any():
        return {}
    interval = auroc_interval(now.images["score"].to_numpy(), is_anomaly, confidence)
    return {
        "instance_auroc_low": interval.low,
        "instance_auroc_high": interval.high,
        "confidence": confidence,
        "resamples": RESAMPLES,
    }


def _compare_images(shared: pd.DataFrame, checks: ChecksSection) -> tuple[Any, ...]:
    is_anomaly = shared["is_anomaly"].to_numpy(dtype=bool)
    before, now = (shared[f"score_{when}"].to_numpy() for when in ("before", "now"))
    change = auroc_change(before, now, is_anomaly, checks.confidence)
    present = auroc_interval(now, is_anomaly, checks.confidence, resamples=1).estimate
    worse = change.estimate < -checks.regression_tolerance and change.high < 0
    past = present - change.estimate
    return ("instance_auroc", past, present, change.estimate, change.low, change.high, worse)


def _compare_pixels(before: Judged, now: Judged, tolerance: float) -> list[tuple[Any, ...]]:
    rows = []
    for name in PIXEL_METRICS:
        old, new = float(before.metrics[name]), float(now.metrics[name])
        # A metric that was defined for these images and masks and no longer is has dropped.
        worse = math.isnan(new) or new - old < -tolerance
        if not math.isnan(old):
            rows.append((name, old, new, new - old, math.nan, math.nan, worse))
    return rows


def _obstacle(before: Judged, now: Judged, shared: pd.DataFrame, is_same_code: bool) -> str:
    """Say why pixel metrics are not comparable; empty if they are."""
    if not is_same_code:
        return "another release measured them before"
    if not len(shared) == len(before.images) == len(now.images):
        return "the test images are others"
    masks = shared[["mask_fingerprint_before", "mask_fingerprint_now"]].fillna("")
    if (masks.iloc[:, 0] != masks.iloc[:, 1]).any():
        return "masks have changed"
    if (shared[f"{_JUDGED_BY}_before"] != shared[f"{_JUDGED_BY}_now"]).any():
        return "the section metrics, or how images are resized and cut, has changed"
    if _sets_rule_aside(before) != _sets_rule_aside(now):
        return "metrics.reference_masks was set aside in one of them only"
    return ""


def _sets_rule_aside(judged: Judged) -> bool:
    """Tell whether the reference's rule for masks would have lost defects, and was not applied."""
    return bool(judged.metrics.get("lost_defects", {}).get("without_white"))


def _fall(worse: pd.DataFrame, checks: ChecksSection) -> str:
    """Name the metric that fell most, and how far."""
    first = worse.sort_values("change", na_position="first").iloc[0]
    others = "" if len(worse) == 1 else f" (and {counted(len(worse) - 1, 'other metric')} too)"
    if math.isnan(first["now"]):
        return f"{first['metric']} was {first['before']:.4f} and is now undefined{others}"
    interval = ""
    if not math.isnan(first["low"]):
        interval = (
            f" ({checks.confidence:.0%} interval {-first['high']:.4f} to {-first['low']:.4f})"
        )
    return (
        f"{first['metric']} has dropped by {-first['change']:.4f}{interval} to {first['now']:.4f}"
        f"{others}"
    )
