"""Checks image and mask files before anything is computed from them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.image_formats import DEEP_MODES, decoding, opened
from patchcore_ops.dataset.mask_doubts import doubt, marked_share
from patchcore_ops.dataset.masks import mask_content
from patchcore_ops.dataset.png import decoded

# What a viewer makes use of and the benchmark, like the reference, does not.
TURNED = "is turned by an EXIF entry that is not followed"
SEVERAL = "holds several pictures, of which the first is used"
TRANSPARENT = "has transparent parts, whose hidden colours are used"
DARK = "is stored with 16 bits and uses less than an eighth of them, so it is almost black"

_DARK_BELOW = 2**13


class ImageTraits(NamedTuple):
    """A sound image: its size in pixels, and which of the remarks above apply."""

    width: int
    height: int
    remarks: tuple[str, ...]


class MaskTraits(NamedTuple):
    """A sound mask: size in pixels, a doubt about it, and the share of pixels it marks."""

    width: int
    height: int
    doubt: str | None
    marked_share: float


def inspect_image(path: Path, max_pixels: int) -> ImageTraits:
    """Check a whole image file.

    Plain PNG files are not decoded: their checksums are verified in a fortieth of the time.
    """
    with opened(path, max_pixels) as image:
        remarks = []
        if _is_turned(image):
            remarks.append(TURNED)
        is_plain = not image.has_transparency_data and image.mode not in DEEP_MODES
        with decoding(path):
            # Pages of a TIFF are counted by reading them.
            if getattr(image, "is_animated", False) or "mp" in image.info:
                remarks.append(SEVERAL)
            if isinstance(image, PngImageFile) and is_plain:
                image.verify()
            else:
                decoded(image)
        if image.has_transparency_data and _has_holes(image):
            remarks.append(TRANSPARENT)
        if image.mode in DEEP_MODES and int(np.asarray(image).max()) < _DARK_BELOW:
            remarks.append(DARK)
        # A TIFF that is stored turned has its sides exchanged by decoding.
        return ImageTraits(*image.size, tuple(remarks))


def inspect_mask(path: Path, size: ImageSize, mask_threshold: float) -> MaskTraits:
    """Check a whole mask file; `mask_threshold` is a share of white."""
    with opened(path, size.max_pixels) as image:
        content = mask_content(image, path)
        least = mask_threshold * 255
        return MaskTraits(
            *content.levels.size, doubt(content, size, least), marked_share(content, least)
        )


def _is_turned(image: ImageFile.ImageFile) -> bool:
    """Tell whether EXIF turns the picture; a TIFF is turned by its decoder."""
    if image.format == "TIFF" or "exif" not in image.info:
        return False
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        return exif.get(ExifTags.Base.Orientation, 1) in range(2, 9)
    # A damaged note about the camera is no reason to refuse the picture.
    except Exception:
        return False


def _has_holes(image: ImageFile.ImageFile) -> bool:
    darkest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return int(darkest) < 255  # type: ignore[arg-type]
