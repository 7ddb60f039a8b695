"""Decodes PNG files of up to 64 MB in one call, and refuses files with missing pixels.

Pillow decodes chunk by chunk under the interpreter lock and shows missing rows as black.
"""

from __future__ import annotations

import logging
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

# Larger files are left to Pillow, which reads them in pieces.
_MOST_BYTES = 64 * 2**20
_CHANNELS = {"L": (), "RGB": (3,)}
# libpng warns of every interlaced file and every colour profile it doubts, which change no pixel.
logging.getLogger("imagecodecs").setLevel(logging.ERROR)


def decoded(image: ImageFile.ImageFile) -> Image.Image:
    """Decode an opened image: grey and RGB PNG of 8 bits by libpng, all else by Pillow.

    The reference's figures rest on Pillow's conversion of palettes, transparency and other depths.
    libpng raises RuntimeError for damaged files; Pillow raises various errors.
    """
    pixels = _by_libpng(image)
    shape = (image.height, image.width, *_CHANNELS.get(image.mode, (0,)))
    if pixels is not None and pixels.dtype == np.uint8 and pixels.shape == shape:
        return Image.fromarray(pixels)
    image.load()
    return image


def _by_libpng(image: ImageFile.ImageFile) -> npt.NDArray[Any] | None:
    """Decode a PNG file; None for other files, very large ones, and without libpng."""
    if not isinstance(image, PngImageFile) or image.fp is None:
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read(_MOST_BYTES + 1)
    image.fp.seek(place)
    if len(content) > _MOST_BYTES:
        return None
    try:
        pixels: npt.NDArray[Any] = imagecodecs.png_decode(content)
    except ImportError:  # A build of imagecodecs may lack it.
        return None
    return pixels
