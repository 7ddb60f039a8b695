"""Plain PNG files decoded by libspng, whose vector code undoes their filters in half the time.

Plain are 8-bit grey and RGB, which most inspection images and masks are, and of which every decoder
gives the same pixels. The rest (palettes, transparency, other depths) and whatever is damaged is
left to Pillow, whose conversions the reference's figures rest on.
"""

from __future__ import annotations

import io

import imagecodecs
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from patchcore_ops.png_chunks import PIXELS, SIGNATURE, chunks

# Depth and colour type.
_PLAIN = (bytes([8, 0]), bytes([8, 2]))
_WHERE = slice(len(SIGNATURE) + 16, len(SIGNATURE) + 18)


def decoded(image: ImageFile.ImageFile) -> Image.Image:
    """Decode an image if it is a plain PNG that was opened in one piece, see `png_chunks`.

    Parameters
    ----------
    image : ImageFile
        At its beginning.

    Returns
    -------
    Image
        The same picture, decoded; whatever else it is, the image as it came.
    """
    if not isinstance(image, PngImageFile) or not isinstance(image.fp, io.BytesIO):
        return image
    with image.fp.getbuffer() as content:
        if content[_WHERE] not in _PLAIN:
            return image
        plain = _without_remarks(content)
    try:
        return Image.fromarray(imagecodecs.spng_decode(plain))
    # libspng's own errors are of the first kind. A build of imagecodecs may lack it.
    except (RuntimeError, ValueError, ImportError):
        return image


def _without_remarks(content: memoryview) -> bytes:
    """Leave out what is between header and pixels: of a plain file it does not change these."""
    (_, _, header_end), *others = chunks(content)
    start = next(start for kind, start, _ in others if kind == PIXELS)
    return b"".join([content[:header_end], content[start:]])
