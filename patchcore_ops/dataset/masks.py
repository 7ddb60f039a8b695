"""Ground-truth masks: the meaning of their pixels, and masks as arrays.

Grey levels are kept, with two exceptions: paint on a transparent ground marks where the paint is,
and a single level beside black marks, whatever it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFile

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.image_formats import (
    DEEP_MODES,
    decoding,
    opened,
    problem_report,
    read_all,
)
from patchcore_ops.dataset.images import resize_and_crop, to_mode
from patchcore_ops.dataset.png import decoded

_WHITE = 255
# A format that loses detail makes levels of its own, so that a single one proves nothing.
_EXACT_FORMATS = frozenset({"PNG", "BMP", "TIFF"})
_LOSSY_COMPRESSIONS = frozenset({"jpeg", "tiff_jpeg", "webp"})


class MaskContent(NamedTuple):
    """Grey levels of a mask (white is marked) and their histogram.

    `is_exact` is false for lossy formats. `uses_hidden_colours` tells that the opacity was unclear.
    """

    levels: Image.Image
    histogram: list[int]
    is_exact: bool
    uses_hidden_colours: bool


def load_mask(path: Path, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Load a ground-truth mask with the same resize and crop as its image.

    Parameters
    ----------
    path : Path
        A mask; white marks the defect, or what `mask_content` reads as white.
    size : ImageSize
        Resize and crop, in pixels.

    Returns
    -------
    ndarray of uint8, shape [height, width]
        Grey levels: resizing mixes black and white along the defect's edge.

    Raises
    ------
    DatasetError
        If the file cannot be read, decoded or used.
    """
    with opened(path, size.max_pixels) as image:
        return np.asarray(resize_and_crop(mask_content(image, path).levels, size))


def load_masks(
    paths: Sequence[Path | None], size: ImageSize, num_workers: int
) -> npt.NDArray[np.uint8]:
    """Load many masks as uint8 [len(paths), height, width]; None gives an empty mask.

    A DatasetError has one line for each unusable file.
    """
    masks = np.zeros((len(paths), *size.crop_size), dtype=np.uint8)
    files = {position: path for position, path in enumerate(paths) if path is not None}
    problems: list[str] = []

    def load(position: int) -> None:
        masks[position] = load_mask(files[position], size)

    read_all(files, load, problems, max(num_workers, 1))
    if problems:
        raise problem_report(problems)
    return masks


def mask_content(image: ImageFile.ImageFile, path: Path) -> MaskContent:
    """Read the levels of an opened mask file.

    Where opacity varies and all visible pixels have one colour, the opacity is the mask, unless
    that colour is black and hidden ones are not. In an exact format, a single level beside black
    becomes white.
    """
    is_exact = image.format in _EXACT_FORMATS and not (
        image.format == "TIFF" and image.info.get("compression") in _LOSSY_COMPRESSIONS
    )
    uses_hidden_colours = False
    with decoding(path):
        picture = decoded(image)
    if image.mode in DEEP_MODES:
        levels = _of_sixteen_bits(image)
    elif image.has_transparency_data:
        levels, uses_hidden_colours = _of_transparent(image)
    else:
        levels = _of_colours(picture)
    histogram = levels.histogram()
    if is_exact and _is_one_level_on_black(histogram):
        levels = levels.point([0] + [_WHITE] * 255)
        histogram = levels.histogram()
    return MaskContent(levels, histogram, is_exact, uses_hidden_colours)


def _is_one_level_on_black(histogram: list[int]) -> bool:
    """Tell whether there is black and exactly one other level, which is not white."""
    pixels = sum(histogram)
    marked = pixels - histogram[0]
    return 0 < marked < pixels and marked in histogram[1:_WHITE]


def _of_colours(image: Image.Image) -> Image.Image:
    """Convert to grey levels; where grey would be black, the greatest channel counts instead."""
    levels = to_mode(image, "L")
    if image.mode == "L" or levels.getextrema() != (0, 0):
        return levels
    # A dark red or blue, such as the number of a class, has the grey level 0.
    channels = to_mode(image, "RGB").split()
    return ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])


def _of_sixteen_bits(image: Image.Image) -> Image.Image:
    """Scale to 8 bits; a single level on black becomes white, or scaling might make it black."""
    values = np.asarray(image)
    highest = values.max()
    if values.min() == 0 and ((values == 0) | (values == highest)).all():
        return Image.fromarray(np.where(values, _WHITE, 0).astype(np.uint8))
    return to_mode(image, "L")


def _of_transparent(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return opacity or colours, and whether hidden colours other than black are used."""
    whole = to_mode(image, "RGBA")
    opacity = whole.getchannel("A")
    if np.count_nonzero(opacity.histogram()) > 1:
        visible = np.reshape(whole.histogram(opacity), (4, 256))[:3] > 0
        is_one_colour, is_black = (visible.sum(axis=1) == 1).all(), visible[:, 0].all()
        if is_one_colour and (not is_black or not any(whole.convert("L").histogram()[1:])):
            return opacity, False
    levels = whole.convert("L")
    hidden = levels.histogram(opacity.point([_WHITE] + [0] * 255))
    return levels, any(hidden[1:])
