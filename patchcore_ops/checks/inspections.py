"""Checks of a day's inspections against what the model's calibration expects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from patchcore_ops.calibration import Calibration
from patchcore_ops.checks.finding import Finding, counted, such_as

# By chance alone a check warns of one day in so many.
_DAYS = 1000
# With fewer scores on either side nothing but a complete change would show.
MINIMUM_IMAGES = 20
_NOT_CALIBRATED = (
    "The model has no thresholds, for no train image could be scored without itself; add train "
    "images, and make the model again."
)


def rejects_are_expected(judged: pd.DataFrame, calibration: Calibration | None) -> Finding:
    """Compare the number of rejects with what normal images alone would give.

    The threshold is the k-th smallest of n normal scores, so the rejects among m normal images
    follow the beta-binomial distribution with parameters n + 1 - k and k.
    """
    if calibration is None or calibration.image_threshold is None:
        return Finding(False, _NOT_CALIBRATED, is_error=False)
    from scipy.stats import betabinom

    rejects, images = int(judged["is_anomaly"].sum()), len(judged)
    normal = np.asarray(calibration.normal_scores)
    rank = int(np.searchsorted(normal, calibration.image_threshold, side="right"))
    chance = float(betabinom.sf(rejects - 1, images, len(normal) + 1 - rank, rank))
    expected = images * (len(normal) + 1 - rank) / (len(normal) + 1)
    said = f"{rejects} of {counted(images, 'image')} {'is' if rejects == 1 else 'are'} rejected"
    return Finding.of(
        chance >= 1 / _DAYS,
        f"{said}, where {expected:.1f} were expected of normal images.",
        f"{said}, where {expected:.1f} were expected of normal images (chance {chance:.1g}): there "
        "are defects, or images are taken in another way than those that the model was made of. "
        "Look at the rejects; accept normal ones into the train images, and make the model again.",
        {"rejects": rejects, "images": images, "expected": expected, "chance": chance},
        judged.loc[judged["is_anomaly"].fillna(False), "path"].tolist(),
        is_error=False,
    )


def scores_have_not_drifted(judged: pd.DataFrame, calibration: Calibration | None) -> Finding:
    """Compare a day's scores with those of the calibration (Kolmogorov and Smirnov)."""
    if calibration is None or not calibration.normal_scores:
        return Finding(False, _NOT_CALIBRATED, is_error=False)
    scores, normal = judged["score"].to_numpy(), np.asarray(calibration.normal_scores)
    fewest = min(len(scores), len(normal))
    if fewest < MINIMUM_IMAGES:
        return Finding(
            True,
            f"{counted(len(scores), 'image')} and {counted(len(normal), 'normal score')} are too "
            f"few to compare; {MINIMUM_IMAGES} of each are needed.",
            facts={"images": len(scores), "normal_scores": len(normal)},
        )
    from scipy.stats import ks_2samp

    test = ks_2samp(scores, normal)
    medians = f"the median is {np.median(scores):.4g}, in the calibration {np.median(normal):.4g}"
    return Finding.of(
        bool(test.pvalue >= 1 / _DAYS),
        f"The scores are distributed as in the calibration: {medians}.",
        f"The scores are distributed otherwise than in the calibration (distance "
        f"{test.statistic:.2f}, chance {test.pvalue:.1g}): {medians}. Look whether light, focus, "
        "position or product have changed; if the images are good, accept some into the train "
        "images, and make the model again.",
        {
            "distance": float(test.statistic),
            "chance": float(test.pvalue),
            "median": float(np.median(scores)),
            "median_of_calibration": float(np.median(normal)),
        },
        is_error=False,
    )


def every_image_was_read(table: pd.DataFrame) -> Finding:
    """Name the images that could not be read."""
    reasons: Sequence[str] = table["reason"].dropna().tolist()
    return Finding.of(
        not reasons,
        f"{counted(len(table), 'image')} could be read.",
        f"{counted(len(reasons), 'image')} of {len(table):,} could not be read, "
        f"{such_as(reasons)}; see how they are written, and put whole ones in their place.",
        {"images": len(table), "unreadable": len(reasons)},
        reasons,
        is_error=False,
    )
