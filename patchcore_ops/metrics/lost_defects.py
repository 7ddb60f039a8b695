"""Marked defects that pixel metrics count as normal, because resize and crop made them fainter.

By the reference's rule only fully white pixels are anomalous. A thin defect can have none left, so
that detecting it would count as a mistake. The rule is therefore applied to a category only if it
leaves a part of the defect in every image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.pixel_ranking import PixelSet, is_anomalous

_WHITE = 255


class FaintMasks(NamedTuple):
    """Which masks mark too little, arrays of shape [n]."""

    unmarked: npt.NDArray[np.bool_]  # no pixel reaches `mask_threshold`
    without_white: npt.NDArray[np.bool_]  # some do, but none is white as `reference_masks` asks


def find_faint_masks(
    mask_levels: npt.NDArray[np.uint8], has_mask: npt.NDArray[np.bool_], settings: MetricsSection
) -> FaintMasks:
    """Find the masks, grey levels of shape [n, H, W], of which a rule leaves nothing."""
    brightest = mask_levels.reshape(len(mask_levels), -1).max(axis=1, initial=0)
    is_marked = is_anomalous(brightest, settings)
    return FaintMasks(
        has_mask & ~is_marked,
        has_mask & is_marked & (brightest < _WHITE) & settings.reference_masks,
    )


def name_lost_defects(
    paths: Sequence[str], faint: FaintMasks, sets: Iterable[PixelSet]
) -> dict[str, list[str] | dict[str, int]]:
    """Name the images whose defects count as normal, or would by the reference's rule.

    `missed_regions` counts, by path, the regions without a white pixel where the rule is applied.
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
