"""Per-image overlap at the false-positive rate of normal images: AUPIMO.

After Bertoldo, Larsen, Ameln and Akcay, "AUPIMO: Redefining Visual Anomaly Detection Benchmarks
with High Speed and Low Tolerance" (2024). The threshold is set by normal images alone, and every
defective image has its own figure.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from patchcore_ops.metrics.ranking import unseen_is_missed

# The authors' bounds of the integral over the false-positive rate.
LOWEST_RATE, HIGHEST_RATE = 1e-5, 1e-4

Floats = npt.NDArray[np.float64]


def per_image_overlap(
    normal: npt.NDArray[np.floating],
    defects: Iterable[npt.NDArray[np.floating]],
    lowest: float = LOWEST_RATE,
    highest: float = HIGHEST_RATE,
) -> Floats:
    """Integrate each image's detected share of its mask over the logarithm of the shared rate.

    `normal` are the pixels of the maps of all normal images, ascending; `defects` those of each
    defective image inside its mask, in any order. Returns for each a number in [0, 1]; NaN where
    the normal images have too few pixels for the rate `highest`, or too many with their greatest
    value.

    Examples
    --------
    >>> per_image_overlap(np.arange(10.0), [np.array([5.0, 20.0])], 0.1, 0.3)
    array([0.5])
    """
    thresholds, rates = _thresholds(normal, highest)
    if len(rates) == 0 or rates[0] > highest:
        return np.asarray([np.nan for _ in defects], dtype=np.float64)
    places = np.log(np.append(rates[(rates > lowest) & (rates < highest)], highest))
    places = np.concatenate([[np.log(lowest)], places])
    width = np.log(highest / lowest)
    found = []
    for pixels in defects:
        ascending = np.sort(unseen_is_missed(pixels))
        detected = 1 - np.searchsorted(ascending, thresholds, side="left") / len(ascending)
        at_places = np.interp(places, np.log(rates), detected)
        found.append(np.trapezoid(at_places, places) / width)
    # A perfect image's sum may exceed 1 by rounding.
    return np.minimum(np.asarray(found, dtype=np.float64), 1.0)


def _thresholds(normal: npt.NDArray[np.floating], highest: float) -> tuple[Floats, Floats]:
    """Return the greatest normal values and the share of pixels that is not smaller, ascending."""
    count = len(normal)
    # One more than the rates up to the highest, to interpolate at it.
    first = max(count - int(count * highest) - 1, 0)
    values = np.unique(normal[first:]).astype(np.float64)[::-1]
    rates = (count - np.searchsorted(normal, values, side="left")) / max(count, 1)
    return values, rates
