"""Curves over all thresholds from one sort: the common ground of every metric.

All pixels are sorted once by descending score. Anything a metric needs is then a cumulative sum:
counts of normal and anomalous pixels, or the per-region weights of the PRO curve. Equal scores
share one threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Scores in descending order, with their labels.

    Attributes
    ----------
    scores : ndarray of float, shape [n]
        Descending.
    positive : ndarray of bool, shape [n]
        The labels, in the same order.
    """

    scores: npt.NDArray[np.floating]
    positive: npt.NDArray[np.bool_]

    @property
    def has_both_classes(self) -> bool:
        """Whether there are positive and negative samples, so that curves are defined."""
        return bool(self.positive.any() and not self.positive.all())

    @cached_property
    def thresholds(self) -> npt.NDArray[np.int64]:
        """The last position of each run of equal scores."""
        if len(self.scores) == 0:
            return np.empty(0, dtype=np.int64)
        return np.append(np.flatnonzero(np.diff(self.scores)), len(self.scores) - 1)

    @cached_property
    def true_positives(self) -> npt.NDArray[np.int64]:
        """How many positives there are down to each threshold."""
        return np.cumsum(self.positive, dtype=np.int64)[self.thresholds]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Ranking:
        """Keep some samples; `chosen` is in ranked order."""
        return Ranking(self.scores[chosen], self.positive[chosen])


def rank(
    scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]
) -> tuple[Ranking, npt.NDArray[np.int64]]:
    """Sort samples by descending score.

    Returns
    -------
    ranking : Ranking
    order : ndarray of int64
        The samples' original positions in ranked order.
    """
    order = np.argsort(scores)[::-1]
    return Ranking(scores[order], positive[order]), order


def roc_curve(ranking: Ranking) -> tuple[Floats, Floats]:
    """Compute the ROC curve.

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray of float64
        From (0, 0) to (1, 1).
    """
    true_positives = ranking.true_positives
    false_positives = ranking.thresholds + 1 - true_positives
    return (
        np.concatenate([[0.0], false_positives / false_positives[-1]]),
        np.concatenate([[0.0], true_positives / true_positives[-1]]),
    )


def thin_curve(x: Floats, y: Floats, points: int = 200) -> dict[str, list[float]]:
    """Keep about so many points of a monotone curve, evenly along its course, for drawing.

    Returns
    -------
    dict
        `x` and `y`, lists of float; both ends are kept.
    """
    kept = evenly_along(x, y, points)
    return {"x": x[kept].round(6).tolist(), "y": y[kept].round(6).tolist()}


def evenly_along(x: Floats, y: Floats, points: int) -> npt.NDArray[np.int64]:
    """Choose about so many positions of a curve, evenly along its course, both ends included."""
    course = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    chosen = np.searchsorted(course, np.linspace(0, course[-1], points)).clip(max=len(x) - 1)
    return np.unique(np.concatenate([[0], chosen, [len(x) - 1]]))


def auroc(ranking: Ranking) -> float:
    """Compute the area under the ROC curve; NaN if only one class is present."""
    if not ranking.has_both_classes:
        return float("nan")
    false_positive_rate, true_positive_rate = roc_curve(ranking)
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


def average_precision(ranking: Ranking) -> float:
    """Compute the average precision (step-wise, as scikit-learn does); NaN without positives."""
    if not ranking.positive.any():
        return float("nan")
    precision, recall, _ = _precision_recall(ranking)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def f1_max(ranking: Ranking) -> tuple[float, float]:
    """Find the best F1 score over all thresholds.

    Returns
    -------
    f1, threshold : float
        A sample counts as anomalous from `threshold` on. NaN without positives.
    """
    if not ranking.positive.any():
        return float("nan"), float("nan")
    precision, recall, thresholds = _precision_recall(ranking)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    return float(f1[best]), float(ranking.scores[thresholds[best]])


def _precision_recall(ranking: Ranking) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    found, thresholds = ranking.true_positives, ranking.thresholds
    return found / (thresholds + 1), found / found[-1], thresholds
