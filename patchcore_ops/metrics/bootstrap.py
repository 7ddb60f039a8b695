"""Confidence intervals of an image AUROC by bootstrap over the test images.

Normal and defective images are drawn separately, so that every resample has both. An AUROC is the
share of pairs (defective, normal) in which the defective image has the higher score, an equal score
counting half. So it is a mean over a table of pairs, and that of a resample is the same mean
weighted by how often each image was drawn: one matrix product for all resamples.
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
    scores: Floats,
    is_anomaly: npt.NDArray[np.bool_],
    confidence: float,
    resamples: int = RESAMPLES,
) -> Interval:
    """Estimate the AUROC of image scores, with its interval.

    Parameters
    ----------
    scores : ndarray of float, shape [n]
    is_anomaly : ndarray of bool, shape [n]
        Both classes must be present.
    confidence : float
        Confidence level, in (0, 1).
    resamples : int

    Returns
    -------
    Interval
        Between the quantiles of the resamples (percentile bootstrap).
    """
    return _interval(_pairs(scores, is_anomaly), confidence, resamples)


def auroc_change(
    before: Floats,
    after: Floats,
    is_anomaly: npt.NDArray[np.bool_],
    confidence: float,
    resamples: int = RESAMPLES,
) -> Interval:
    """Estimate by how much the AUROC of the same images has changed, with its interval.

    The bootstrap is paired: each resample takes the same images before and after, so that images
    that are easy or hard both times cancel out.

    Parameters
    ----------
    before, after : ndarray of float, shape [n]
        Scores of the same images in the same order; their scales need not be the same.
    is_anomaly : ndarray of bool, shape [n]
        Both classes must be present.
    confidence : float
        Confidence level, in (0, 1).
    resamples : int

    Returns
    -------
    Interval
        AUROC after minus AUROC before.
    """
    change = _pairs(after, is_anomaly) - _pairs(before, is_anomaly)
    return _interval(change, confidence, resamples)


def resample_counts(
    anomalous: int, normal: int, resamples: int = RESAMPLES
) -> tuple[Counts, Counts]:
    """Draw images with replacement, each class by itself, always in the same way.

    Returns
    -------
    anomalous, normal : ndarray of int64, shape [resamples, anomalous] and [resamples, normal]
        How often each image of a class was drawn.
    """
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
