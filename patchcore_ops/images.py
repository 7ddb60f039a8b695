"""Image and mask files as arrays, prepared as the reference prepares them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.errors import DatasetError
from patchcore_ops.image_formats import DEEP_MODES, opened, problem_report
from patchcore_ops.png_decoder import decoded
from patchcore_ops.sections import ImageSize

__all__ = ["load_image", "load_mask", "load_masks", "load_thumbnail", "resize_and_crop", "to_mode"]


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
    return _load(path, "RGB", size)


def load_mask(path: Path, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Load a ground-truth mask with the same resize and crop as its image.

    Parameters
    ----------
    path : Path
        A greyscale mask; white marks the defect.
    size : ImageSize
        Resize and crop, in pixels.

    Returns
    -------
    ndarray of uint8, shape [imagesize, imagesize]
        Grey levels: resizing mixes black and white along the defect's edge.

    Raises
    ------
    DatasetError
        If the file cannot be read, decoded or used.
    """
    return _load(path, "L", size)


def load_thumbnail(
    path: Path, side: int, max_pixels: int = ImageSize().max_pixels
) -> npt.NDArray[np.uint8]:
    """Load a small version of the whole image, uncropped, as quickly as its format allows.

    Parameters
    ----------
    path : Path
    side : int
        Longer side of the result in pixels; smaller images keep their size.
    max_pixels : int
        Limit of the file's own pixels.

    Returns
    -------
    ndarray of uint8, shape [H, W, 3]
        RGB.

    Raises
    ------
    DatasetError
        If the file cannot be read, decoded or used.
    """
    with opened(path, max_pixels) as image:
        image.draft("RGB", (side, side))
        small = _eight_bit(image) if image.mode in DEEP_MODES else image
        small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=1.0)
        return np.asarray(small.convert("RGB"))


def load_masks(
    paths: Sequence[Path | None], size: ImageSize, num_workers: int
) -> npt.NDArray[np.uint8]:
    """Load the masks of many images; an image without a mask file has an empty mask.

    Returns
    -------
    ndarray of uint8, shape [len(paths), imagesize, imagesize]
        Grey levels, see `load_mask`.

    Raises
    ------
    DatasetError
        If files cannot be read, decoded or used: one line for each.
    """
    masks = np.zeros((len(paths), size.imagesize, size.imagesize), dtype=np.uint8)
    present = [position for position, path in enumerate(paths) if path is not None]
    files = [path for path in paths if path is not None]
    problems = []

    def attempt(path: Path) -> npt.NDArray[np.uint8] | DatasetError:
        try:
            return load_mask(path, size)
        except DatasetError as problem:
            return problem

    with ThreadPoolExecutor(max(num_workers, 1), thread_name_prefix="decode") as executor:
        for position, mask in zip(present, executor.map(attempt, files), strict=True):
            if isinstance(mask, DatasetError):
                problems.append(str(mask))
            else:
                masks[position] = mask
    if problems:
        raise problem_report(problems)
    return masks


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Decode an image and convert it, as PIL does but for 16-bit greyscale, which is scaled.

    Parameters
    ----------
    image : Image
        Of one of `image_formats.READABLE_MODES`.
    mode : str
        "RGB" or "L".
    """
    image = _eight_bit(image) if image.mode in DEEP_MODES else image
    if image.mode != mode:
        return image.convert(mode)
    # Converting would copy it.
    image.load()
    return image


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


def _load(path: Path, mode: str, size: ImageSize) -> npt.NDArray[np.uint8]:
    with opened(path, size.max_pixels, in_one_piece=True) as image:
        return np.asarray(resize_and_crop(to_mode(decoded(image), mode), size))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit greyscale to 8 bits; PIL's own conversion would clip it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) / 257).round().astype(np.uint8))
