"""Pictures of predictions: the image, its ground truth and the heat map, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Picture = npt.NDArray[np.uint8]  # shape [H, W, 3]

# Dark blue over green to red, as in most publications on the subject.
_HEAT_STOPS = np.array(
    [[0, 0, 96], [0, 64, 255], [0, 220, 220], [255, 230, 0], [255, 96, 0], [160, 0, 0]], dtype=float
)
_HEAT_COLOURS = np.stack(
    [
        np.interp(np.linspace(0, len(_HEAT_STOPS) - 1, 1024), np.arange(len(_HEAT_STOPS)), channel)
        for channel in _HEAT_STOPS.T
    ],
    axis=-1,
).astype(np.uint8)
_GAP = 4
_OUTLINE = np.array([0, 255, 80], dtype=np.uint8)


def heat_colours(values: npt.NDArray[np.floating], low: float, high: float) -> Picture:
    """Colour values from `low` to `high`, clipped; a last axis of 3 is added."""
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(_HEAT_COLOURS[np.rint(share * (len(_HEAT_COLOURS) - 1)).astype(np.intp)])


def overlay_heat(
    image: Picture, anomaly_map: npt.NDArray[np.floating], low: float, high: float
) -> Picture:
    """Blend an anomaly map, shape [H, W], over an image, with more opacity where it is higher."""
    share = np.clip((anomaly_map - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    opacity = (0.25 + 0.45 * share)[..., None]
    blended = image + opacity * (heat_colours(anomaly_map, low, high).astype(np.float32) - image)
    return np.asarray(np.rint(blended).astype(np.uint8))


def outline_mask(image: Picture, mask: npt.NDArray[np.bool_], width: int = 2) -> Picture:
    """Draw the outline of the ground truth onto an image."""
    outlined = image.copy()
    outlined[ndimage.binary_dilation(mask, iterations=width) & ~mask] = _OUTLINE
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
