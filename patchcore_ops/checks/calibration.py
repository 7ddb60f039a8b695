"""Check that the threshold does on good test images what it was made for."""

from __future__ import annotations

import math

import pandas as pd
from scipy.special import betaincinv

from patchcore_ops.calibration import Calibration, suspects
from patchcore_ops.checks.finding import NAMED_FILES, Finding, counted, such_as


def false_positives_are_as_asked(calibration: Calibration, confidence: float) -> Finding:
    """Compare the false-positive rate of good test images with the one that was asked for.

    It warns if the binomial interval (Clopper and Pearson) of what was seen leaves that rate out.
    """
    asked = calibration.false_positive_rate
    if calibration.image_threshold is None:
        return Finding(
            False,
            "There is no threshold, for no train image could be scored without itself; add train "
            "images.",
            is_error=False,
            facts={"asked": asked},
        )
    figures = calibration.test
    if figures is None or figures.good_images == 0:
        return Finding(
            True, "There are no good test images to compare with.", facts={"asked": asked}
        )
    seen, images = figures.false_positives, figures.good_images
    low, high = _interval(seen, images, confidence)
    said = (
        f"{seen} of {counted(images, 'good test image')} "
        f"{'is' if seen == 1 else 'are'} above the threshold"
    )
    return Finding.of(
        low <= asked <= high,
        f"{said}, which agrees with the {asked:.2%} that was asked for.",
        f"{said}: between {low:.2%} and {high:.2%} with a confidence of {confidence:.0%}, where "
        f"{asked:.2%} was asked for; look whether train and test images were taken alike, or raise "
        "calibration.images.",
        {"asked": asked, "seen": seen / images, "low": low, "high": high},
        is_error=False,
    )


def enough_normal_images(calibration: Calibration) -> Finding:
    """Tell where so few normal images were scored that the rate asked for cannot be guaranteed."""
    asked, images = calibration.false_positive_rate, len(calibration.normal_scores)
    guaranteed = 1.0 if calibration.guaranteed_rate is None else calibration.guaranteed_rate
    needed = math.ceil(1 / asked - 1e-9) - 1
    return Finding.of(
        images >= needed,
        f"{counted(images, 'normal image')} guarantee a false-positive rate of {asked:.2%}.",
        f"{counted(images, 'normal image')} guarantee a false-positive rate of {guaranteed:.2%} "
        f"only, where {asked:.2%} was asked for, which takes {needed:,}; add train images, or "
        "raise calibration.images or calibration.false_positive_rate.",
        {"images": images, "asked": asked, "guaranteed": guaranteed},
        is_error=False,
    )


def suspicious_train_images(normal: pd.DataFrame) -> Finding:
    """List train images whose scores are far above those of the others; see `suspects`."""
    suspected = suspects(normal["score"])
    found, count = normal.iloc[suspected][["path", "score"]].head(NAMED_FILES), len(suspected)
    return Finding.of(
        count == 0,
        f"None of {counted(len(normal), 'train image')} has a score far above the others.",
        f"{counted(count, 'train image')} {'has' if count == 1 else 'have'} a score far above the "
        f"others ({such_as(found['path'].tolist())}); look whether each is normal, and move it out "
        "of train if it is not.",
        {"scored": len(normal), "suspicious": count},
        found,
        is_error=False,
    )


def _interval(seen: int, of: int, confidence: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson; `scipy.stats`, which has it, loads slowly."""
    beyond = (1 - confidence) / 2
    low = betaincinv(seen, of - seen + 1, beyond) if seen else 0.0
    high = betaincinv(seen + 1, of - seen, 1 - beyond) if seen < of else 1.0
    return float(low), float(high)
