"""Thresholds and p-values from scores of normal images, without any labelled defect.

Conformal prediction: if a new normal image is exchangeable with those whose scores are known, its
score is equally likely to take any rank among them. See Vovk, Gammerman and Shafer, "Algorithmic
Learning in a Random World", and Bates et al., "Testing for Outliers with Conformal p-values".
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def conformal_threshold(normal_scores: npt.ArrayLike, false_positive_rate: float) -> float:
    """Return the score that at most this share of new normal images exceeds, on average.

    It is the k-th smallest of n scores, at least one, k = ceil((n + 1) (1 - rate)); the greatest
    where k exceeds n, as with too few images for so small a rate, see `guaranteed_rate`.

    Examples
    --------
    >>> conformal_threshold([5.0, 1.0, 2.0, 3.0, 4.0, 7.0, 6.0, 8.0, 9.0], 0.2)
    8.0
    """
    ascending = np.sort(np.asarray(normal_scores, dtype=np.float64))
    return float(ascending[_rank(len(ascending), false_positive_rate) - 1])


def guaranteed_rate(images: int, false_positive_rate: float) -> float:
    """Return the false-positive rate that so many normal images guarantee at the threshold.

    Examples
    --------
    >>> guaranteed_rate(199, 0.01), guaranteed_rate(19, 0.01)
    (0.01, 0.05)
    """
    return (images + 1 - _rank(images, false_positive_rate)) / (images + 1)


def p_values(scores: npt.ArrayLike, normal_scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return how likely a normal image has each score or a greater one.

    (1 + number of normal scores that are not smaller) / (n + 1): between 1 / (n + 1) and 1.

    Examples
    --------
    >>> p_values([0.0, 2.5, 9.0], [1.0, 2.0, 3.0])
    array([1.  , 0.5 , 0.25])
    """
    ascending = np.sort(np.asarray(normal_scores, dtype=np.float64))
    smaller = np.searchsorted(ascending, np.asarray(scores, dtype=np.float64), side="left")
    return np.asarray((1 + len(ascending) - smaller) / (len(ascending) + 1))


def _rank(images: int, false_positive_rate: float) -> int:
    # A product such as 200 * 0.99 must not be rounded up to the next rank.
    exact = (images + 1) * (1 - false_positive_rate)
    return min(max(math.ceil(exact - 1e-9), 1), images)
