"""Train images that look as if they were no normal ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# From here on an image is suspected, in deviations above the median; the usual bound of such
# scores, see Iglewicz and Hoaglin, "How to Detect and Handle Outliers".
DEVIATIONS = 3.5
# Of a normal distribution, the standard deviation is so many median absolute deviations.
_MAD_OF_NORMAL = 1.4826


def suspects(scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the positions of scores that are far above the others, the greatest first.

    Those are above the median by more than `DEVIATIONS` standard deviations, as estimated by the
    median deviation of those above it: scores of normal images spread wider above the median than
    below. Deviations are those of logarithms, if all scores are positive, so that squared distances
    and their roots give the same.

    Examples
    --------
    >>> suspects([1.0, 1.1, 5.0, 0.9, 1.0])
    array([2])
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    if (values > 0).all():
        values = np.log(values)
    middle = np.median(values)
    deviation = _MAD_OF_NORMAL * np.median(values[values >= middle] - middle)
    found = np.flatnonzero(values > middle + DEVIATIONS * deviation)
    return found[np.argsort(-values[found], kind="stable")]
