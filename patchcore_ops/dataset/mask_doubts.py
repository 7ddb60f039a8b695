"""Doubts about what a mask marks, with their effect on the pixel metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.images import resize_and_crop
from patchcore_ops.dataset.masks import MaskContent

HIDDEN = "is transparent in a way that has no clear meaning, so that its hidden colours are used"
EMPTY = "is entirely black, so that its image counts as sound"
FAINT = "has no pixel as bright as metrics.mask_threshold, so that its image counts as sound"
WHOLE = "marks every pixel, so that no part of its image counts as sound"
MOSTLY = "marks more than half of its image, and if it is inverted, defects count as sound"
OUT_OF_VIEW = "marks nothing that is left after resize and crop, so that its image counts as sound"
PARTLY_FAINT = "has marks darker than metrics.mask_threshold, which count as sound"
GREY = (
    "is neither black nor white in more than a quarter of what it marks, and grey counts as sound "
    "where metrics.reference_masks is applied"
)
SEVERAL_LEVELS = (
    "has areas of an even grey besides black and white, which count from metrics.mask_threshold on "
    "and as sound where metrics.reference_masks is applied"
)

_GREY_SHARE = 0.25
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def marked_share(content: MaskContent, least: float) -> float:
    """Return the share of pixels from level `least` on."""
    marked = sum(content.histogram[math.ceil(least) :])
    return marked / sum(content.histogram)


def doubt(content: MaskContent, size: ImageSize, least: float) -> str | None:
    """Return the first doubt about a mask whose pixels count from level `least` on."""
    return next(_doubts(content, size, least), None)


def _doubts(content: MaskContent, size: ImageSize, least: float) -> Iterator[str]:
    """Yield causes before consequences; slow checks come last."""
    marked = sum(content.histogram[1:])
    grey = sum(content.histogram[1:255])
    share = marked_share(content, least)
    if content.uses_hidden_colours:
        yield HIDDEN
    if marked == 0:
        yield EMPTY
    if share == 0:
        yield FAINT
    if share > 0.5:
        yield WHOLE if share == 1 else MOSTLY
    # With `auto`, whole images are in view.
    if (
        size.imagesize != "auto"
        and not (np.asarray(resize_and_crop(content.levels, size)) >= least).any()
    ):
        yield OUT_OF_VIEW
    if grey and _has_faint_region(np.asarray(content.levels), least):
        yield PARTLY_FAINT
    if grey and content.is_exact and (area := _darkest_even_grey(np.asarray(content.levels))):
        yield PARTLY_FAINT if area < least else SEVERAL_LEVELS
    if grey > _GREY_SHARE * marked:
        yield GREY


def _has_faint_region(levels: npt.NDArray[np.uint8], least: float) -> bool:
    """Tell whether a connected region of at least half of `least` never reaches it.

    Darker pixels are noise of lossy formats or the end of a soft edge.
    """
    from scipy import ndimage

    regions, count = ndimage.label(levels >= least / 2, structure=_EIGHT_NEIGHBOURS)
    return len(np.unique(regions[levels >= least])) < int(count)


def _darkest_even_grey(levels: npt.NDArray[np.uint8]) -> int | None:
    """Find the darkest grey that fills a square of 3 x 3 pixels, which no soft edge does."""
    in_row = levels[:, 1:] == levels[:, :-1]
    in_column = levels[1:, 1:-1] == levels[:-1, 1:-1]
    three = in_row[:, 1:] & in_row[:, :-1]
    square = three[:-2] & three[1:-1] & three[2:] & in_column[1:] & in_column[:-1]
    middles = levels[1:-1, 1:-1][square]
    greys = middles[(middles > 0) & (middles < 255)]
    return int(greys.min()) if greys.size else None
