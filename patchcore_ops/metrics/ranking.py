"""Curves over all thresholds from one sort: the common ground of every metric.

A curve bends only where a positive sample is passed. So the few positives are ranked, and for each
of their scores the negatives above it are counted in sorted order. Counts of negatives add up over
groups of samples, which therefore need to be sorted only once, however they are combined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Ranking:
    """What is found at each threshold; only the scores of positives are thresholds.

    Attributes
    ----------
    thresholds : ndarray of float, shape [t]
        The distinct scores of the positives, descending.
    true_positives : ndarray of int64, shape [t]
        Positives from each threshold on.
    false_positives : ndarray of int64, shape [t]
        Negatives from each threshold on.
    false_positives_above : ndarray of int64, shape [t]
        Negatives whose score is larger than the threshold.
    covered : ndarray of float64, shape [t]
        Weight of the positives from each threshold on.
    negatives : int
        Number of all negatives.
    """

    thresholds: Scores
    true_positives: npt.NDArray[np.int64]
    false_positives: npt.NDArray[np.int64]
    false_positives_above: npt.NDArray[np.int64]
    covered: Floats
    negatives: int

    @property
    def has_positives(self) -> bool:
        """Whether there is a positive sample."""
        return len(self.thresholds) > 0

    @property
    def has_both_classes(self) -> bool:
        """Whether there are positive and negative samples, so that curves are defined."""
        return self.has_positives and self.negatives > 0


def rank(scores: Scores, positive: npt.NDArray[np.bool_]) -> Ranking:
    """Rank labelled samples.

    Parameters
    ----------
    scores : ndarray of float, shape [n]
    positive : ndarray of bool, shape [n]
    """
    return rank_positives(scores[positive], [np.sort(scores[~positive])])


def rank_positives(
    positives: Scores, sorted_negatives: Sequence[Scores], weights: Floats | None = None
) -> Ranking:
    """Rank positives among the negatives of several groups.

    Parameters
    ----------
    positives : ndarray of float, shape [p]
    sorted_negatives : sequence of ndarray of float
        The negatives of each group, ascending.
    weights : ndarray of float64, shape [p], optional
        What each positive adds to `Ranking.covered`; 1 by default.
    """
    if weights is None:
        ranked = np.sort(positives)[::-1]
    else:
        order = np.argsort(positives)[::-1]
        ranked, weights = positives[order], weights[order]
    last_of_score = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)].nonzero()[0]
    thresholds = ranked[last_of_score]
    true_positives = last_of_score + 1
    none = np.zeros(len(thresholds), dtype=np.int64)
    counts = [_count_from(negatives, thresholds) for negatives in sorted_negatives]
    return Ranking(
        thresholds=thresholds,
        true_positives=true_positives,
        false_positives=sum((reached for reached, _ in counts), none),
        false_positives_above=sum((above for _, above in counts), none),
        covered=true_positives.astype(float)
        if weights is None
        else np.cumsum(weights)[last_of_score],
        negatives=sum(len(negatives) for negatives in sorted_negatives),
    )


def _count_from(
    ascending: Scores, thresholds: Scores
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the scores from each threshold on, and those above it."""
    below = np.searchsorted(ascending, thresholds)
    up_to = below.copy()
    # Ties are rare: only they are searched from the other side.
    inside = np.flatnonzero(below < len(ascending))
    tied = inside[ascending[below[inside]] == thresholds[inside]]
    up_to[tied] = np.searchsorted(ascending, thresholds[tied], side="right")
    return len(ascending) - below, len(ascending) - up_to


def roc_curve(ranking: Ranking) -> tuple[Floats, Floats]:
    """Compute the corners of the ROC curve.

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray of float64
        From (0, 0) to (1, 1).
    """
    return _curve(ranking, ranking.true_positives)


def coverage_curve(ranking: Ranking) -> tuple[Floats, Floats]:
    """Compute the corners of the covered share of the weights against the false-positive rate.

    Returns
    -------
    false_positive_rate, covered : ndarray of float64
        From (0, 0) to (1, 1).
    """
    return _curve(ranking, ranking.covered)


def _curve(ranking: Ranking, reached: npt.NDArray[np.int64] | Floats) -> tuple[Floats, Floats]:
    """Join the points before and after each threshold; between them negatives are passed."""
    corners = 2 * len(reached)
    x, y = np.zeros(corners + 2), np.zeros(corners + 2)
    x[1:-1:2], x[2:-1:2] = ranking.false_positives_above, ranking.false_positives
    y[2:-1:2], y[3:-1:2] = reached, reached[:-1]
    x[-1], y[-1] = ranking.negatives, reached[-1]
    return x / x[-1], y / y[-1]


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
    if not ranking.has_positives:
        return float("nan")
    found = ranking.true_positives
    precision = found / (found + ranking.false_positives)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])


def f1_max(ranking: Ranking) -> tuple[float, float]:
    """Find the best F1 score over all thresholds.

    Returns
    -------
    f1, threshold : float
        A sample counts as anomalous from `threshold` on. NaN without positives.
    """
    if not ranking.has_positives:
        return float("nan"), float("nan")
    found = ranking.true_positives
    f1 = 2 * found / (found + ranking.false_positives + found[-1])
    best = int(f1.argmax())
    return float(f1[best]), float(ranking.thresholds[best])
