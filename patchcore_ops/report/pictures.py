"""Pictures of predictions: the image, its ground truth and the heat map, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from patchcore_ops.inspection.heat_map import overlay_heat

Picture = npt.NDArray[np.uint8]  # shape [H, W, 3]

_GAP = 4
_OUTLINE = np.array([0, 255, 80], dtype=np.uint8)


def outline_mask(image: Picture, mask: npt.NDArray[np.bool_]) -> Picture:
    """Draw the outline of the ground truth onto an image."""
    outlined = image.copy()
    outlined[ndimage.binary_dilation(mask, iterations=2) & ~mask] = _OUTLINE
    return outlined


def prediction_strip(
    image: Picture,
    mask: npt.NDArray[np.bool_] | None,
    anomaly_map: npt.NDArray[np.floating],
    low: float,
    high: float,
) -> Picture:
    """Show image, ground truth (grey if None) and heat map side by side: [H, 3 * W + 8, 3]."""
    truth = np.full_like(image, 128)
    if mask is not None:
        truth[:] = np.where(mask[..., None], 255, 0)
    heat = overlay_heat(image, anomaly_map, low, high)
    if mask is not None and mask.any():
        heat = outline_mask(heat, mask)
    gap = np.full((image.shape[0], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([image, gap, truth, gap, heat], axis=1)


def captioned(picture: Picture, caption: str, size: int = 15) -> Picture:
    """Write a caption above a picture, in letters `size` pixels high on a white band."""
    band = Image.new("RGB", (picture.shape[1], size + 7), "white")
    ImageDraw.Draw(band).text((2, 2), caption, fill=(24, 33, 43), font=ImageFont.load_default(size))
    return np.concatenate([np.asarray(band), picture], axis=0)


def contact_sheet(pictures: Sequence[Picture], columns: int, side: int) -> Picture:
    """Lay pictures out in rows, each centred in a white square whose side it does not exceed."""
    rows = -(-len(pictures) // columns)
    step = side + _GAP
    sheet = np.full((rows * step - _GAP, columns * step - _GAP, 3), 255, dtype=np.uint8)
    for at, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        top = at // columns * step + (side - height) // 2
        left = at % columns * step + (side - width) // 2
        sheet[top : top + height, left : left + width] = picture
    return sheet


def stack_strips(strips: Sequence[Picture]) -> Picture:
    """Stack pictures of equal width."""
    gap = np.full((_GAP, strips[0].shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([part for strip in strips for part in (strip, gap)][:-1], axis=0)
