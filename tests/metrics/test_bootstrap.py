"""Confidence intervals of an AUROC, against the bootstrap written as loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from patchcore_ops.metrics.bootstrap import auroc_change, auroc_interval, resample_counts

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
RESAMPLES = 100


def images(seed: int) -> tuple[Floats, Floats, Bools]:
    """Draw two sets of scores of the same images, on few levels so that many are equal."""
    generator = np.random.default_rng(seed)
    is_anomaly = generator.permutation([True] * 9 + [False] * 7)
    first, second = (generator.integers(0, 6, 16) + 2.0 * is_anomaly for _ in range(2))
    return first, second, is_anomaly


def literal_resamples(scores: Floats, is_anomaly: Bools) -> Floats:
    """Compute the AUROC of each resample from the images that it repeats."""
    anomalous, normal = scores[is_anomaly], scores[~is_anomaly]
    values = []
    for of_anomalous, of_normal in zip(*resample_counts(9, 7, RESAMPLES), strict=True):
        drawn = np.concatenate([np.repeat(anomalous, of_anomalous), np.repeat(normal, of_normal)])
        values.append(roc_auc_score([True] * 9 + [False] * 7, drawn))
    return np.array(values)


@pytest.mark.parametrize("seed", range(3))
def test_interval_and_paired_change_are_those_of_the_literal_loop(seed: int) -> None:
    before, after, is_anomaly = images(seed)
    old, new = (literal_resamples(scores, is_anomaly) for scores in (before, after))
    whole = [roc_auc_score(is_anomaly, scores) for scores in (before, after)]
    for got, estimate, values in (
        (auroc_interval(before, is_anomaly, 0.9, RESAMPLES), whole[0], old),
        (auroc_change(before, after, is_anomaly, 0.9, RESAMPLES), whole[1] - whole[0], new - old),
    ):
        expected = (estimate, *np.quantile(values, [0.05, 0.95]))
        assert (got.estimate, got.low, got.high) == pytest.approx(expected, abs=1e-6)


def test_every_resample_has_as_many_images_of_each_class() -> None:
    for drawn, count in zip(resample_counts(5, 3, 50), (5, 3), strict=True):
        assert drawn.shape == (50, count)
        assert (drawn.sum(axis=1) == count).all()
        assert len(np.unique(drawn, axis=0)) > 5, "resamples differ"


def test_equal_scores_have_not_changed_whatever_their_scale() -> None:
    scores, _, is_anomaly = images(0)
    change = auroc_change(scores, 3 * scores + 1, is_anomaly, 0.95)
    assert (change.estimate, change.low, change.high) == (0, 0, 0)


def test_a_coverage_near_the_confidence_level() -> None:
    """Draw many test sets from one population: about as many intervals hold its AUROC."""
    generator = np.random.default_rng(0)
    is_anomaly = np.arange(100) < 50
    # Scores of two normal distributions one deviation apart: AUROC = Phi(1 / sqrt(2)).
    truth, held = 0.7602, 0
    for _ in range(100):
        scores = generator.normal(size=100) + is_anomaly
        interval = auroc_interval(scores, is_anomaly, 0.9, resamples=300)
        held += interval.low <= truth <= interval.high
    assert 80 <= held <= 98


def test_one_class_has_no_auroc() -> None:
    with pytest.raises(ValueError, match="normal and defective"):
        auroc_interval(np.ones(3), np.ones(3, dtype=bool), 0.95)
