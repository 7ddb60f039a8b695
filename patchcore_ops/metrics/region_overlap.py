"""Per-region overlap (PRO) and the area under its curve, as MVTec AD's evaluation code defines it.

The PRO at a threshold is the detected share of each connected component of the masks, averaged over
the components. Giving every anomalous pixel the weight 1 / (size of its component) turns it into a
cumulative sum over the ranked anomalous pixels, divided by the number of components.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from patchcore_ops.metrics.ranking import (
    Floats,
    Ranking,
    curve_of,
    rank_positives,
    sorted_numbers,
    unseen_is_missed,
)

# Connected within an image by edges and corners, never across images.
_EIGHT_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
_EIGHT_NEIGHBOURS[1] = True

Regions = npt.NDArray[np.int32]


def label_regions(masks: npt.NDArray[np.bool_]) -> Regions:
    """Label the connected components of masks, shape [n, H, W], by numbers from 1 on."""
    regions, _ = ndimage.label(masks, structure=_EIGHT_NEIGHBOURS)
    return np.asarray(regions, dtype=np.int32)


def weights_of(regions: Regions) -> Floats:
    """Give each pixel of a region the weight 1 / (size of the region), the others 0."""
    weights = 1.0 / np.maximum(np.bincount(regions.ravel(), minlength=1), 1)
    weights[0] = 0.0
    return np.asarray(weights[regions])


def region_weights(masks: npt.NDArray[np.bool_]) -> Floats:
    """Weight each anomalous pixel by its share of its region, so that each region sums to 1."""
    return weights_of(label_regions(masks))


def missed_regions(regions: Regions, found: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Count, for each image, the regions without a found pixel; shape [n]."""
    is_missed = np.ones(int(regions.max(initial=0)) + 1, dtype=bool)
    is_missed[regions[found]] = False
    is_missed[0] = False
    counts = np.zeros(len(regions), dtype=np.int64)
    if is_missed.any():
        counts[:] = [is_missed[np.unique(image[image > 0])].sum() for image in regions]
    return counts


def pro_curve_below(ranking: Ranking, fpr_limit: float) -> tuple[Floats, Floats]:
    """Compute the PRO curve up to a false-positive rate, its end interpolated.

    The weights of `ranking` must be `region_weights`.
    """
    false_positive_rate, overlap = curve_of(ranking, ranking.covered)
    inside = false_positive_rate <= fpr_limit
    return (
        np.append(false_positive_rate[inside], fpr_limit),
        np.append(overlap[inside], np.interp(fpr_limit, false_positive_rate, overlap)),
    )


def area_under_pro(ranking: Ranking, fpr_limit: float) -> float:
    """Integrate the PRO curve up to a false-positive rate and divide by it; NaN with one class."""
    if not ranking.has_both_classes:
        return float("nan")
    x, y = pro_curve_below(ranking, fpr_limit)
    return float(np.trapezoid(y, x) / fpr_limit)


def aupro(
    anomaly_maps: npt.NDArray[np.floating], masks: npt.NDArray[np.generic], fpr_limit: float = 0.3
) -> float:
    """Compute the area under the PRO curve of a set of test images.

    Parameters
    ----------
    anomaly_maps : ndarray of float, shape [n, H, W]
        Higher is more anomalous. NaN is what was not seen: a defect there is missed, and sound
        pixels do not count.
    masks : ndarray, shape [n, H, W]
        Non-zero marks a defect; normal images have empty masks and count for false positives.
    fpr_limit : float
        Upper limit of the integral over the false-positive rate.

    Returns
    -------
    float
        In [0, 1]; NaN without anomalous or without normal pixels.

    Examples
    --------
    >>> aupro(np.array([[[0.1, 0.2, 0.9]]]), np.array([[[0, 0, 1]]]))
    1.0
    """
    positive = masks.astype(bool)
    ranking = rank_positives(
        unseen_is_missed(anomaly_maps[positive]),
        [sorted_numbers(anomaly_maps[~positive])],
        region_weights(positive)[positive],
    )
    return area_under_pro(ranking, fpr_limit)
