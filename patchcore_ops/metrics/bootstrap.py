"""Confidence intervals of an image AUROC by a bootstrap, stratified by class.

An AUROC is the share of pairs (anomalous, normal) in which the anomalous image scores higher; ties
count half. On a resample it is the mean over the same pairs, weighted by how often each image was
drawn: one matrix product for all resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
SEED = 0

Floats = npt.NDArray[np.floating]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float


def auroc_interval(
    scores: Floats, is_anomaly: npt.NDArray[np.bool_], confidence: float, resamples: int = RESAMPLES
) -> Interval:
    """Estimate the AUROC of image scores [n] of both classes with a percentile bootstrap interval.

    Raises
    ------
    ValueError
        If one class is missing.

    Examples
    --------
    >>> auroc_interval(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]), 0.95)
    Interval(estimate=1.0, low=1.0, high=1.0)
    """
    return _interval(_pairs(scores, is_anomaly), confidence, resamples)


def auroc_change(
    before: Floats,
    after: Floats,
    is_anomaly: npt.NDArray[np.bool_],
    confidence: float,
    resamples: int = RESAMPLES,
) -> Interval:
    """Estimate AUROC after minus AUROC before on the same images, by a paired bootstrap."""
    change = _pairs(after, is_anomaly) - _pairs(before, is_anomaly)
    return _interval(change, confidence, resamples)


def resample_counts(
    anomalous: int, normal: int, resamples: int = RESAMPLES
) -> tuple[Counts, Counts]:
    """Count how often each image of each class is drawn; shapes [resamples, images]."""
    generator = np.random.default_rng(SEED)
    drawn = [
        generator.multinomial(count, np.full(count, 1 / count), size=resamples)
        for count in (anomalous, normal)
    ]
    return drawn[0], drawn[1]


def _pairs(scores: Floats, is_anomaly: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Compare each anomalous image with each normal one: 1 where it is higher, 0.5 if equal."""
    if is_anomaly.all() or not is_anomaly.any():
        raise ValueError("an AUROC needs normal and defective images")
    anomalous, normal = scores[is_anomaly][:, None], scores[~is_anomaly]
    twice = (anomalous > normal).astype(np.float32) + (anomalous >= normal).astype(np.float32)
    return twice / np.float32(2)


def _interval(pairs: npt.NDArray[np.float32], confidence: float, resamples: int) -> Interval:
    drawn_anomalous, drawn_normal = resample_counts(pairs.shape[0], pairs.shape[1], resamples)
    weighted = drawn_anomalous.astype(np.float32) @ pairs
    values = np.einsum("rn,rn->r", weighted, drawn_normal, dtype=np.float64) / pairs.size
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(pairs.mean(dtype=np.float64)), float(low), float(high))
