"""Per-region overlap (PRO) and the area under its curve, as MVTec AD's evaluation code defines it.

The PRO at a threshold is the covered share of each connected component of each mask, averaged over
the components. Giving every anomalous pixel the weight 1 / (size of its component * number of
components) turns it into a cumulative sum over the ranked pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from patchcore_ops.ranking import Floats, Ranking, rank

# Connected within an image by edges and corners, never across images.
_EIGHT_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
_EIGHT_NEIGHBOURS[1] = True


def region_weights(masks: npt.NDArray[np.bool_]) -> Floats:
    """Weight each anomalous pixel by what it adds to the PRO.

    Parameters
    ----------
    masks : ndarray of bool, shape [n, H, W]

    Returns
    -------
    ndarray of float64, shape [n, H, W]
        Sums to 1, or is all 0 where no mask has a pixel.
    """
    regions, count = ndimage.label(masks, structure=_EIGHT_NEIGHBOURS)
    if count == 0:
        return np.zeros(masks.shape)
    sizes = np.bincount(regions.ravel())
    weights = np.zeros(count + 1)
    weights[1:] = 1.0 / (sizes[1:] * count)
    return np.asarray(weights[regions])


def pro_curve(ranking: Ranking, weights: Floats) -> tuple[Floats, Floats]:
    """Compute the per-region overlap against the false-positive rate.

    Parameters
    ----------
    ranking : Ranking
        All pixels of all test images.
    weights : ndarray of float64
        `region_weights` in ranked order.

    Returns
    -------
    false_positive_rate, overlap : ndarray of float64
        From (0, 0) to (1, 1).
    """
    false_positives = ranking.thresholds + 1 - ranking.true_positives
    overlap = np.cumsum(weights)[ranking.thresholds]
    return (
        np.concatenate([[0.0], false_positives / false_positives[-1]]),
        np.concatenate([[0.0], overlap / overlap[-1]]),
    )


def pro_curve_below(ranking: Ranking, weights: Floats, fpr_limit: float) -> tuple[Floats, Floats]:
    """Return the part of the PRO curve up to a false-positive rate, its end interpolated."""
    false_positive_rate, overlap = pro_curve(ranking, weights)
    inside = false_positive_rate <= fpr_limit
    return (
        np.append(false_positive_rate[inside], fpr_limit),
        np.append(overlap[inside], np.interp(fpr_limit, false_positive_rate, overlap)),
    )


def area_under_pro(ranking: Ranking, weights: Floats, fpr_limit: float = 0.3) -> float:
    """Integrate the PRO curve up to a false-positive rate and divide by it.

    Returns
    -------
    float
        In [0, 1]; NaN if there is no anomalous or no normal pixel.
    """
    if not ranking.has_both_classes:
        return float("nan")
    x, y = pro_curve_below(ranking, weights, fpr_limit)
    return float(np.trapezoid(y, x) / fpr_limit)


def aupro(
    anomaly_maps: npt.NDArray[np.floating], masks: npt.NDArray[np.generic], fpr_limit: float = 0.3
) -> float:
    """Compute the area under the PRO curve of a set of test images.

    Parameters
    ----------
    anomaly_maps : ndarray of float, shape [n, H, W]
        Higher is more anomalous.
    masks : ndarray, shape [n, H, W]
        Non-zero marks a defect; normal images have empty masks and count for false positives.
    fpr_limit : float
        False-positive rate up to which is integrated.

    Returns
    -------
    float
        In [0, 1]; NaN if there is no anomalous or no normal pixel.
    """
    positive = masks.astype(bool)
    ranking, order = rank(anomaly_maps.ravel(), positive.ravel())
    return area_under_pro(ranking, region_weights(positive).ravel()[order], fpr_limit)
