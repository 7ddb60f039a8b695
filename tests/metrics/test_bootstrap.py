"""Confidence intervals of an AUROC, against the bootstrap written as loops."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from patchcore_ops.metrics.bootstrap import auroc_change, auroc_interval, resample_counts

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def images(
    seed: int, anomalous: int = 9, normal: int = 7, levels: int = 6
) -> tuple[Floats, Floats, Bools]:
    """Draw two sets of scores of the same images, on few levels so that many are equal."""
    generator = np.random.default_rng(seed)
    is_anomaly = np.array([True] * anomalous + [False] * normal)
    generator.shuffle(is_anomaly)
    first, second = (
        generator.integers(0, levels, len(is_anomaly)) + 2.0 * is_anomaly for _ in range(2)
    )
    return first, second, is_anomaly


def literal_resamples(scores: Floats, is_anomaly: Bools, resamples: int) -> list[float]:
    """Compute the AUROC of each resample from the images that it repeats."""
    anomalous, normal = scores[is_anomaly], scores[~is_anomaly]
    values = []
    for of_anomalous, of_normal in zip(
        *resample_counts(len(anomalous), len(normal), resamples), strict=True
    ):
        drawn = np.concatenate([np.repeat(anomalous, of_anomalous), np.repeat(normal, of_normal)])
        labels = [True] * int(of_anomalous.sum()) + [False] * int(of_normal.sum())
        values.append(float(roc_auc_score(labels, drawn)))
    return values


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_is_that_of_the_literal_loop(seed: int) -> None:
    scores, _, is_anomaly = images(seed)
    interval = auroc_interval(scores, is_anomaly, 0.9, resamples=200)
    literal = literal_resamples(scores, is_anomaly, 200)
    assert interval.estimate == pytest.approx(roc_auc_score(is_anomaly, scores), abs=1e-6)
    assert interval.low == pytest.approx(np.quantile(literal, 0.05), abs=1e-6)
    assert interval.high == pytest.approx(np.quantile(literal, 0.95), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_change_is_that_of_the_literal_paired_loop(seed: int) -> None:
    before, after, is_anomaly = images(seed)
    change = auroc_change(before, after, is_anomaly, 0.9, resamples=200)
    differences = np.subtract(
        literal_resamples(after, is_anomaly, 200), literal_resamples(before, is_anomaly, 200)
    )
    expected = roc_auc_score(is_anomaly, after) - roc_auc_score(is_anomaly, before)
    assert change.estimate == pytest.approx(expected, abs=1e-6)
    assert change.low == pytest.approx(np.quantile(differences, 0.05), abs=1e-6)
    assert change.high == pytest.approx(np.quantile(differences, 0.95), abs=1e-6)


def test_every_resample_has_as_many_images_of_each_class() -> None:
    anomalous, normal = resample_counts(5, 3, 50)
    assert anomalous.shape == (50, 5)
    assert normal.shape == (50, 3)
    assert (anomalous.sum(axis=1) == 5).all()
    assert (normal.sum(axis=1) == 3).all()
    assert len({tuple(row) for row in anomalous.tolist()}) > 10, "resamples differ"


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
    for _ in range(200):
        interval = auroc_interval(generator.normal(size=100) + is_anomaly, is_anomaly, 0.9)
        held += interval.low <= truth <= interval.high
    assert 160 <= held <= 198


def test_one_class_has_no_auroc() -> None:
    with pytest.raises(ValueError, match="normal and defective"):
        auroc_interval(np.ones(3), np.ones(3, dtype=bool), 0.95)


def test_a_category_takes_some_milliseconds() -> None:
    before, after, is_anomaly = images(0, anomalous=63, normal=20)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        auroc_change(before, after, is_anomaly, 0.95)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05
