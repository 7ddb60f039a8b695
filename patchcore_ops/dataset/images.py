"""Image files as arrays, prepared as the reference prepares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.image_formats import DEEP_MODES, EncodedImage, decoding, opened
from patchcore_ops.dataset.png import decoded

__all__ = [
    "load_image",
    "load_thumbnail",
    "load_with_crop",
    "network_input",
    "resize_and_crop",
    "to_mode",
]


def load_image(path: Path, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Load an image as the network's crop, before normalisation.

    The image is resized (bilinear with antialiasing, on 8-bit values, as torchvision does with PIL
    images) and its centre cropped, as `size` says.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP, TIFF or WebP, by content; docs/input.md says what becomes of each kind.
    size : ImageSize
        Resize and crop, in pixels, and the limit of the file's own pixels.

    Returns
    -------
    ndarray of uint8, shape [height, width, 3]
        RGB.

    Raises
    ------
    DatasetError
        If the file cannot be read, decoded or used.
    """
    return load_with_crop(path, size)[0]


def load_with_crop(
    source: Path | EncodedImage, size: ImageSize
) -> tuple[npt.NDArray[np.uint8], Crop]:
    """Load an image as `load_image`, and say where the crop lies in it."""
    with opened(source, size.max_pixels) as image:
        with decoding(source):
            picture = decoded(image)
        return network_input(to_mode(picture, "RGB"), size)


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


def network_input(image: Image.Image, size: ImageSize) -> tuple[npt.NDArray[np.uint8], Crop]:
    """Return the pixels of an image as the network sees them, and where they lie in the image.

    Padding repeats the edge's pixels: a black one would be an edge that the images do not have.
    """
    crop = Crop.of(*image.size, size)
    pixels = np.asarray(resize_and_crop(image, size))
    left, top, right, bottom = crop.inside
    if (bottom - top, right - left) != crop.size:
        around = (top, crop.size[0] - bottom), (left, crop.size[1] - right), (0, 0)
        pixels = np.pad(pixels[top:bottom, left:right], around, mode="edge")
    return pixels, crop


def resize_and_crop(image: Image.Image, size: ImageSize) -> Image.Image:
    """Resize an image, or a mask, and crop the centre, see `Crop`; padding is black."""
    crop = Crop.of(*image.size, size)
    return image.resize(crop.resized, Image.Resampling.BILINEAR).crop(crop.box)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit greyscale to 8 bits; PIL's own conversion would clip it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) / 257).round().astype(np.uint8))
