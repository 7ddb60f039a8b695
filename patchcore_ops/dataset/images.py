"""Image files as arrays, prepared as the reference prepares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.image_formats import DEEP_MODES, decoding, opened
from patchcore_ops.dataset.png import decoded

__all__ = ["load_image", "load_thumbnail", "resize_and_crop", "to_mode"]


def load_image(path: Path, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Load an image as the network's crop, before normalisation.

    The shorter side is resized to `size.resize` (bilinear with antialiasing, on 8-bit values, as
    torchvision does with PIL images), then the central square is cropped.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP, TIFF or WebP, by content; docs/input.md says what becomes of each kind.
    size : ImageSize
        Resize and crop, in pixels, and the limit of the file's own pixels.

    Returns
    -------
    ndarray of uint8, shape [imagesize, imagesize, 3]
        RGB.

    Raises
    ------
    DatasetError
        If the file cannot be read, decoded or used.
    """
    with opened(path, size.max_pixels) as image:
        with decoding(path):
            picture = decoded(image)
        return np.asarray(resize_and_crop(to_mode(picture, "RGB"), size))


def load_thumbnail(
    path: Path, side: int, max_pixels: int = ImageSize().max_pixels
) -> npt.NDArray[np.uint8]:
    """Load a whole image, uncropped, as RGB uint8 [H, W, 3], its longer side at most `side`."""
    with opened(path, max_pixels) as image:
        with decoding(path):
            image.draft("RGB", (side, side))
            small = _eight_bit(image) if image.mode in DEEP_MODES else image
            # Decodes a JPEG no larger than it must.
            small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=1.0)
        return np.asarray(small.convert("RGB"))


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert a decoded image to "RGB" or "L" as PIL does; 16-bit greyscale is scaled."""
    image = _eight_bit(image) if image.mode in DEEP_MODES else image
    # Converting would copy it.
    return image if image.mode == mode else image.convert(mode)


def resize_and_crop(image: Image.Image, size: ImageSize) -> Image.Image:
    """Resize the shorter side and crop the centre, with torchvision's rounding of both."""
    width, height = image.size
    if width <= height:
        resized = (size.resize, int(size.resize * height / width))
    else:
        resized = (int(size.resize * width / height), size.resize)
    left = round((resized[0] - size.imagesize) / 2)
    top = round((resized[1] - size.imagesize) / 2)
    return image.resize(resized, Image.Resampling.BILINEAR).crop(
        (left, top, left + size.imagesize, top + size.imagesize)
    )


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit greyscale to 8 bits; PIL's own conversion would clip it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) / 257).round().astype(np.uint8))
