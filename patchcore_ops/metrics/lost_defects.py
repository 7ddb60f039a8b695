"""Marked defects that pixel metrics take for sound, after resize and crop have made them fainter.

By the reference's rule only fully white pixels are anomalous. A thin defect can have none left, so
that finding it would count as a mistake. The rule is therefore applied to a category only if it
leaves something of the defect in every image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.pixel_ranking import PixelSet

_WHITE = 255


class FaintMasks(NamedTuple):
    """Which images have masks that mark little.

    Attributes
    ----------
    unmarked : ndarray of bool, shape [n]
        Nothing reaches `mask_threshold`: the image counts as sound in every pixel metric.
    without_white : ndarray of bool, shape [n]
        Something does, but no pixel is fully white, as `reference_masks` asks for.
    """

    unmarked: npt.NDArray[np.bool_]
    without_white: npt.NDArray[np.bool_]


def find_faint_masks(
    mask_levels: npt.NDArray[np.uint8], has_mask: npt.NDArray[np.bool_], settings: MetricsSection
) -> FaintMasks:
    """Look for masks of which a rule leaves nothing.

    Parameters
    ----------
    mask_levels : ndarray of uint8, shape [n, H, W]
        Grey levels of the ground truth.
    has_mask : ndarray of bool, shape [n]
        Whether an image is defective and its mask is known.
    settings : MetricsSection
        How masks become binary.
    """
    brightest = mask_levels.reshape(len(mask_levels), -1).max(axis=1, initial=0)
    is_marked = brightest >= settings.mask_threshold * _WHITE
    return FaintMasks(
        has_mask & ~is_marked,
        has_mask & is_marked & (brightest < _WHITE) & settings.reference_masks,
    )


def name_lost_defects(
    paths: Sequence[str], faint: FaintMasks, sets: Iterable[PixelSet]
) -> dict[str, list[str] | dict[str, int]]:
    """Name the images with defects that count as sound, or would by the reference's rule.

    Parameters
    ----------
    paths : sequence of str
        Of the images.
    faint : FaintMasks
    sets : iterable of PixelSet
        Their pixels, as they are judged.

    Returns
    -------
    dict
        `unmarked` and `without_white`, the paths of `FaintMasks`; `missed_regions`, how many of an
        image's connected regions have no fully white pixel, where the reference's rule is applied.
    """
    missed = sorted(
        pair
        for each in sets
        for pair in zip(each.rows.tolist(), each.missed_regions.tolist(), strict=True)
    )
    return {
        "unmarked": [paths[row] for row in np.flatnonzero(faint.unmarked).tolist()],
        "without_white": [paths[row] for row in np.flatnonzero(faint.without_white).tolist()],
        "missed_regions": {paths[row]: count for row, count in missed if count},
    }
