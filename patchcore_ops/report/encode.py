"""Pictures as data URIs, small enough to put many of them into one HTML file."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from patchcore_ops.report.pictures import Picture

MAX_SIDE = 192
# Photographs of parts take half of it; noise and coarse cloth are compressed harder.
MAX_PICTURE_BYTES = 9_000
_QUALITIES = (78, 60, 40, 20, 5)
_OUTLINE = (0, 255, 80, 255)


def picture_uri(picture: Picture) -> str:
    """Encode a picture as a WebP of at most `MAX_SIDE` squared pixels and `MAX_PICTURE_BYTES`."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail(_bounds(image), Image.Resampling.LANCZOS)
    content = b""
    for quality in _QUALITIES:
        content = _webp(image, quality=quality)
        if len(content) <= MAX_PICTURE_BYTES:
            break
    return _uri(content)


def outline_uri(mask: npt.NDArray[np.bool_]) -> str:
    """Encode the outline of a mask as a WebP, transparent elsewhere, to lie over a `picture_uri`.

    So one outline serves the image and the heat map.
    """
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    image.thumbnail(_bounds(image), Image.Resampling.BOX)
    # Any coverage counts, or a defect of a few pixels would vanish with the downscaling.
    small = np.asarray(image) > 0
    layer = np.zeros((*small.shape, 4), dtype=np.uint8)
    layer[ndimage.binary_dilation(small, iterations=2) & ~small] = _OUTLINE
    return _uri(_webp(Image.fromarray(layer), lossless=True))


def _bounds(image: Image.Image) -> tuple[float, float]:
    """Return sides that leave an image as many pixels as a square one has."""
    longer = MAX_SIDE * math.sqrt(max(image.size) / min(image.size))
    return longer, longer


def _webp(image: Image.Image, *, quality: int = 78, lossless: bool = False) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, lossless=lossless)
    return stream.getvalue()


def _uri(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"
