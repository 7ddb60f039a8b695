"""Curves and their summaries against their definitions, with many ties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from patchcore_ops.metrics.ranking import (
    auroc,
    average_precision,
    f1_max,
    rank,
    rank_positives,
    roc_curve,
    thin_curve,
)

Scores = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
LEVELS = np.arange(21, dtype=np.float32)
# Strictly increasing in float32, each of them very differently shaped.
TRANSFORMS = [LEVELS * 1e30, np.exp(LEVELS), LEVELS * 1e-30 - 1e-29, -1 / (1 + LEVELS)]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], Flags]:
    """Draw levels, few enough to tie, with labels; perhaps of one class only, or none at all."""
    count = draw(st.integers(0, 30))
    largest = draw(st.integers(0, 20))
    levels = draw(st.lists(st.integers(0, largest), min_size=count, max_size=count))
    flags = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return np.array(levels, dtype=np.int64), np.array(flags, dtype=bool)


def literal_auroc(scores: Scores, positive: Flags) -> float:
    """Return the chance that a positive is above a negative; a tie is half of it."""
    pairs = list(itertools.product(scores[positive].tolist(), scores[~positive].tolist()))
    won = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs]
    return sum(won) / len(won) if won else math.nan


def literal_average_precision(scores: Scores, positive: Flags) -> float:
    """Sum, over the thresholds, the recall that each adds times the precision there."""
    area, recall_before = 0.0, 0.0
    if not positive.any():
        return math.nan
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= np.float32(threshold)
        recall = (found & positive).sum() / positive.sum()
        area += (recall - recall_before) * (found & positive).sum() / found.sum()
        recall_before = recall
    return float(area)


def f1_at(scores: Scores, positive: Flags, threshold: float) -> float:
    found = scores >= np.float32(threshold)
    return float(2 * (found & positive).sum() / (found.sum() + positive.sum()))


def same(value: float) -> object:
    return pytest.approx(value, abs=1e-12, nan_ok=True)


@settings(deadline=None, max_examples=150)
@given(sample=labelled(), transform=st.sampled_from(TRANSFORMS), seed=st.integers(0, 99))
def test_each_metric_is_its_definition_whatever_the_order_and_scale(
    sample: tuple[npt.NDArray[np.int64], Flags], transform: Scores, seed: int
) -> None:
    levels, positive = sample
    scores = levels.astype(np.float32)
    ranking = rank(scores, positive)
    best, threshold = f1_max(ranking)
    assert auroc(ranking) == same(literal_auroc(scores, positive))
    assert ranking.has_both_classes == (len(set(positive.tolist())) == 2)
    if ranking.has_both_classes:
        of_thresholds = [f1_at(scores, positive, one) for one in scores[positive].tolist()]
        assert average_precision(ranking) == same(literal_average_precision(scores, positive))
        assert best == same(max(of_thresholds))
        assert f1_at(scores, positive, threshold) == same(best)
    else:
        assert np.isnan([average_precision(ranking), best, threshold]).all()
    order = np.random.default_rng(seed).permutation(len(levels))
    other = rank(transform[levels][order], positive[order])
    assert auroc(other) == same(auroc(ranking))
    assert average_precision(other) == same(average_precision(ranking))
    assert f1_max(other)[0] == same(best)
    np.testing.assert_array_equal(scores, levels)


def test_the_roc_curve_passes_through_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 12, size=200).astype(np.float32)
    positive = rng.random(200) < 0.3
    x, y = roc_curve(rank(scores, positive))
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    ours = set(zip(x.round(12), y.round(12), strict=True))
    corners, every = (
        set(zip(*(axis.round(12) for axis in curve[:2]), strict=True))
        for curve in (
            sklearn_metrics.roc_curve(positive, scores, drop_intermediate=drop)
            for drop in (True, False)
        )
    )
    assert corners <= ours <= every


@pytest.mark.parametrize("count", [2, 3, 150, 5000])
def test_a_thinned_curve_keeps_its_ends_and_its_course(count: int) -> None:
    x = np.sort(np.random.default_rng(0).random(count))
    y = np.minimum(1, 3 * x)
    thin = thin_curve(x, y, points=100)
    assert len(thin["x"]) == len(thin["y"]) <= min(count, 102)
    assert (thin["x"][0], thin["x"][-1]) == pytest.approx((x[0], x[-1]), abs=1e-6)
    np.testing.assert_allclose(np.interp(x, thin["x"], thin["y"]), y, atol=0.03)


@settings(deadline=None, max_examples=50)
@given(sample=labelled(), seed=st.integers(0, 9))
def test_negatives_may_come_in_groups_and_positives_with_weights(
    sample: tuple[npt.NDArray[np.int64], Flags], seed: int
) -> None:
    scores, positive = sample
    rng = np.random.default_rng(seed)
    group, weights = rng.integers(0, 3, size=len(scores)), rng.random(int(positive.sum()))
    ranking = rank_positives(
        scores[positive], [np.sort(scores[~positive & (group == g)]) for g in range(3)], weights
    )
    assert ranking.thresholds.tolist() == sorted(set(scores[positive].tolist()), reverse=True)
    assert ranking.negatives == (~positive).sum()
    for at, threshold in enumerate(ranking.thresholds):
        found = scores >= threshold
        assert ranking.true_positives[at] == (found & positive).sum()
        assert ranking.false_positives[at] == (found & ~positive).sum()
        assert ranking.false_positives_above[at] == ((scores > threshold) & ~positive).sum()
        assert ranking.covered[at] == same(weights[scores[positive] >= threshold].sum())
