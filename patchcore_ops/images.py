"""Image and mask files as arrays, prepared as the reference prepares them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.errors import DatasetError
from patchcore_ops.sections import ImageSize

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def load_image(path: Path, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Load an image as the network's crop, before normalisation.

    The shorter side is resized to `size.resize` (bilinear with antialiasing, on 8-bit values, as
    torchvision does with PIL images), then the central square is cropped.

    Parameters
    ----------
    path : Path
        An image file of any PIL mode; 16-bit greyscale is scaled to 8 bits.
    size : ImageSize
        Resize and crop, in pixels.

    Returns
    -------
    ndarray of uint8, shape [imagesize, imagesize, 3]
        RGB.

    Raises
    ------
    DatasetError
        If the file cannot be read or decoded.
    """
    return np.asarray(_resize_and_crop(_open(path, "RGB"), size))


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
        If the file cannot be read or decoded.
    """
    return np.asarray(_resize_and_crop(_open(path, "L"), size))


def load_thumbnail(path: Path, side: int) -> npt.NDArray[np.uint8]:
    """Load a small version of the whole image, uncropped, as quickly as its format allows.

    Parameters
    ----------
    path : Path
    side : int
        Longer side of the result in pixels; smaller images keep their size.

    Returns
    -------
    ndarray of uint8, shape [H, W, 3]
        RGB.

    Raises
    ------
    DatasetError
        If the file cannot be read or decoded.
    """
    with _decoding(path), Image.open(path) as image:
        image.draft("RGB", (side, side))
        small = _eight_bit(image) if _is_deep(image) else image
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
    """
    masks = np.zeros((len(paths), size.imagesize, size.imagesize), dtype=np.uint8)
    present = [position for position, path in enumerate(paths) if path is not None]
    files = [path for path in paths if path is not None]
    with ThreadPoolExecutor(max(num_workers, 1), thread_name_prefix="decode") as executor:
        for position, mask in zip(
            present, executor.map(lambda path: load_mask(path, size), files), strict=True
        ):
            masks[position] = mask
    return masks


def _open(path: Path, mode: str) -> Image.Image:
    with _decoding(path), Image.open(path) as image:
        return (_eight_bit(image) if _is_deep(image) else image).convert(mode)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Say which file it was that could not be read or decoded."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: the file has vanished; materialise image_manifest again"
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path}: cannot be decoded as an image ({error}); replace or remove the file"
        ) from None


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode == "I"


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit greyscale to 8 bits; PIL's own conversion would clip it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) / 257).round().astype(np.uint8))


def _resize_and_crop(image: Image.Image, size: ImageSize) -> Image.Image:
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
