"""ROC, precision and F1 over all thresholds, from one sort.

A ROC curve bends only at the score of a positive sample. So the few positives are ranked, and at
each of their scores the negatives above are counted by binary search. Counts of groups add up, so
each group is sorted once, however groups are combined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]
_Number = TypeVar("_Number", bound=np.floating)


@dataclass(frozen=True)
class Ranking:
    """Counts at each threshold, arrays of shape [t]; samples at the threshold count as detected."""

    thresholds: Scores  # distinct scores of the positives, descending
    true_positives: Counts
    false_positives: Counts
    false_positives_above: Counts  # without the negatives at the threshold itself
    covered: Floats  # weight of the true positives
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
    """Rank samples by score, given which are positive."""
    return rank_positives(scores[positive], [np.sort(scores[~positive])])


def rank_positives(
    positives: Scores, sorted_negatives: Sequence[Scores], weights: Floats | None = None
) -> Ranking:
    """Rank positives (weighted, by default by 1) among groups of negatives sorted ascending."""
    if weights is None:
        ranked = np.sort(positives)[::-1]
    else:
        order = np.argsort(positives)[::-1]
        ranked, weights = positives[order], weights[order]
    last_of_score = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)].nonzero()[0]
    thresholds = ranked[last_of_score]
    true_positives = last_of_score + 1
    covered = true_positives.astype(float) if weights is None else weights.cumsum()[last_of_score]
    none = np.zeros(len(thresholds), dtype=np.int64)
    counts = [_count_from(negatives, thresholds) for negatives in sorted_negatives]
    return Ranking(
        thresholds=thresholds,
        true_positives=true_positives,
        false_positives=sum((reached for reached, _ in counts), none),
        false_positives_above=sum((above for _, above in counts), none),
        covered=covered,
        negatives=sum(len(negatives) for negatives in sorted_negatives),
    )


def sorted_numbers(scores: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Sort scores without NaN, which is a pixel outside of its image."""
    ascending = np.sort(scores, axis=None)
    # NaN is last.
    return ascending[: np.searchsorted(ascending, np.nan)]


def unseen_is_missed(scores: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Put scores of defects that are NaN, which nothing has seen, below every threshold."""
    return np.asarray(np.where(np.isnan(scores), scores.dtype.type(-np.inf), scores))


def _count_from(ascending: Scores, thresholds: Scores) -> tuple[Counts, Counts]:
    """Count the scores from each threshold on, and those above it."""
    below = np.searchsorted(ascending, thresholds)
    up_to = below.copy()
    # Ties are rare: only they are searched from the other side.
    inside = np.flatnonzero(below < len(ascending))
    tied = inside[ascending[below[inside]] == thresholds[inside]]
    up_to[tied] = np.searchsorted(ascending, thresholds[tied], side="right")
    return len(ascending) - below, len(ascending) - up_to


def roc_curve(ranking: Ranking) -> tuple[Floats, Floats]:
    """Compute the corners of the ROC curve: false and true positive rates."""
    return curve_of(ranking, ranking.true_positives)


def curve_of(ranking: Ranking, reached: Counts | Floats) -> tuple[Floats, Floats]:
    """Join the points before and after each threshold, from (0, 0) to (1, 1)."""
    corners = 2 * len(reached)
    x, y = np.zeros(corners + 2), np.zeros(corners + 2)
    x[1:-1:2], x[2:-1:2] = ranking.false_positives_above, ranking.false_positives
    y[2:-1:2], y[3:-1:2] = reached, reached[:-1]
    x[-1], y[-1] = ranking.negatives, reached[-1]
    return x / x[-1], y / y[-1]


def thin_curve(x: Floats, y: Floats, points: int = 200) -> dict[str, list[float]]:
    """Thin out a monotone curve for drawing; see `evenly_along`."""
    kept = evenly_along(x, y, points)
    return {"x": x[kept].round(6).tolist(), "y": y[kept].round(6).tolist()}


def evenly_along(x: Floats, y: Floats, points: int) -> Counts:
    """Choose about `points` positions, evenly spaced along a curve, both ends included."""
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
    """Compute the average precision (step-wise, as scikit-learn does); NaN with one class.

    Without negatives it would be 1 whatever the scores.
    """
    if not ranking.has_both_classes:
        return float("nan")
    found = ranking.true_positives
    precision = found / (found + ranking.false_positives)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])


def f1_max(ranking: Ranking) -> tuple[float, float]:
    """Return the best F1 over all thresholds, and its threshold; NaN with one class."""
    if not ranking.has_both_classes:
        return float("nan"), float("nan")
    found = ranking.true_positives
    f1 = 2 * found / (found + ranking.false_positives + found[-1])
    best = int(f1.argmax())
    return float(f1[best]), float(ranking.thresholds[best])
