"""Curves and their summaries against scikit-learn and brute force, with many ties."""

from __future__ import annotations

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

Sample = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def brute_force_f1(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float:
    """Try every score as the threshold."""
    best = 0.0
    for threshold in set(scores.tolist()):
        predicted = scores >= threshold
        hits = int((predicted & positive).sum())
        best = max(best, 2 * hits / (int(predicted.sum()) + int(positive.sum())))
    return best


def f1_at(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_], at: float) -> float:
    return float(sklearn_metrics.f1_score(positive, scores >= at))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Draw scores of few distinct values with labels of both classes."""
    count = draw(st.integers(2, 60))
    levels = draw(st.integers(1, 8))
    scores = draw(st.lists(st.integers(0, levels), min_size=count, max_size=count))
    positive = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    positive[:2] = [True, False]
    return np.array(scores, dtype=np.float32) / 7, np.array(positive)


@settings(deadline=None, max_examples=150)
@given(sample=samples())
def test_metrics_equal_slow_ones(sample: Sample) -> None:
    scores, positive = sample
    ranking = rank(scores, positive)
    expected = sklearn_metrics.roc_auc_score(positive, scores)
    assert auroc(ranking) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.average_precision_score(positive, scores)
    assert average_precision(ranking) == pytest.approx(expected, abs=1e-12)
    best, threshold = f1_max(ranking)
    assert best == pytest.approx(brute_force_f1(scores, positive), abs=1e-12)
    assert f1_at(scores, positive, threshold) == pytest.approx(best, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(sample=samples())
def test_auroc_is_the_chance_of_ranking_a_pair_right(sample: Sample) -> None:
    scores, positive = sample
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[positive]
        for low in scores[~positive]
    ]
    assert auroc(rank(scores, positive)) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_many_samples_with_continuous_scores() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(20_000) < 0.03
    scores = (rng.normal(size=20_000) + 1.5 * positive).astype(np.float32)
    ranking = rank(scores, positive)
    assert auroc(ranking) == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))
    expected = sklearn_metrics.average_precision_score(positive, scores)
    assert average_precision(ranking) == pytest.approx(expected)


def test_roc_curve_passes_through_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 12, size=200).astype(np.float32)
    positive = rng.random(200) < 0.3
    x, y = roc_curve(rank(scores, positive))
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    ours = set(zip(x.round(12), y.round(12), strict=True))
    theirs = sklearn_metrics.roc_curve(positive, scores, drop_intermediate=True)[:2]
    assert set(zip(*(axis.round(12) for axis in theirs), strict=True)) <= ours
    # No corner of ours lies off the curve: they are points of scikit-learn's or end a level run.
    all_x, all_y = sklearn_metrics.roc_curve(positive, scores, drop_intermediate=False)[:2]
    on_curve = set(zip(all_x.round(12), all_y.round(12), strict=True))
    assert all(corner in on_curve for corner in ours)


@pytest.mark.parametrize("count", [2, 3, 150, 5000])
def test_thinned_curve_keeps_its_ends_and_its_course(count: int) -> None:
    x = np.sort(np.random.default_rng(0).random(count))
    y = np.minimum(1, 3 * x)
    thin = thin_curve(x, y, points=100)
    assert len(thin["x"]) == len(thin["y"]) <= min(count, 102)
    assert (thin["x"][0], thin["x"][-1]) == pytest.approx((x[0], x[-1]), abs=1e-6)
    np.testing.assert_allclose(np.interp(x, thin["x"], thin["y"]), y, atol=0.03)


def test_ranking_counts_what_is_found_at_each_positive_score() -> None:
    scores = np.array([3, 1, 2, 3, 0, 2, 5], dtype=np.float32)
    positive = np.array([True, False, True, False, False, True, False])
    ranking = rank(scores, positive)
    assert ranking.thresholds.tolist() == [3, 2]
    assert ranking.true_positives.tolist() == [1, 3]
    assert ranking.false_positives.tolist() == [2, 2]
    assert ranking.false_positives_above.tolist() == [1, 2]
    assert ranking.negatives == 4


@settings(deadline=None, max_examples=50)
@given(sample=samples(), seed=st.integers(0, 9))
def test_negatives_may_come_in_groups_and_positives_with_weights(sample: Sample, seed: int) -> None:
    scores, positive = sample
    rng = np.random.default_rng(seed)
    group, weights = rng.integers(0, 3, size=len(scores)), rng.random(int(positive.sum()))
    ranking = rank_positives(
        scores[positive], [np.sort(scores[~positive & (group == g)]) for g in range(3)], weights
    )
    together = rank(scores, positive)
    np.testing.assert_array_equal(ranking.false_positives, together.false_positives)
    np.testing.assert_array_equal(ranking.false_positives_above, together.false_positives_above)
    for threshold, covered in zip(ranking.thresholds, ranking.covered, strict=True):
        expected = weights[scores[positive] >= threshold].sum()
        assert covered == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("count", "label"), [(0, True), (3, True), (3, False)])
def test_one_class_is_nan(count: int, label: bool) -> None:
    scores = np.arange(count, dtype=np.float32)
    ranking = rank(scores, np.full(count, label))
    assert not ranking.has_both_classes
    assert math.isnan(auroc(ranking))
    if count == 0 or not label:
        assert math.isnan(average_precision(ranking))
        assert all(math.isnan(value) for value in f1_max(ranking))
    else:
        assert average_precision(ranking) == 1.0
        assert f1_max(ranking) == (1.0, 0.0)


def test_input_is_left_as_it_was() -> None:
    scores = np.array([2, 0, 1], dtype=np.float32)
    positive = np.array([True, False, True])
    rank(scores, positive)
    assert scores.tolist() == [2, 0, 1]
    assert positive.tolist() == [True, False, True]
