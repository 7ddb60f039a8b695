"""Image and mask files as arrays, prepared as the reference prepares them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.errors import DatasetError
from patchcore_ops.sections import ImageSize

if TYPE_CHECKING:
    import torch

Decoded = TypeVar("Decoded")

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


def iterate_batches(
    paths: Sequence[Path], size: ImageSize, batch_size: int, num_workers: int
) -> Iterator[torch.Tensor]:
    """Decode images ahead of their use and hand them out in batches, in order.

    Threads suffice, for Pillow decodes and resizes outside the interpreter lock; unlike processes
    they cost neither start-up nor memory.

    Parameters
    ----------
    paths : sequence of Path
        Image files.
    size : ImageSize
        Resize and crop, in pixels.
    batch_size : int
        Images per batch; the last batch may be smaller.
    num_workers : int
        Decoding threads; 0 decodes in the caller's thread.

    Yields
    ------
    Tensor of uint8, shape [B, 3, imagesize, imagesize]
        In channels-last memory.
    """
    import torch

    batch: list[npt.NDArray[np.uint8]] = []
    for image in _decode_ahead(lambda path: load_image(path, size), paths, batch_size, num_workers):
        batch.append(image)
        if len(batch) == batch_size:
            yield torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
            batch = []
    if batch:
        yield torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)


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
    decoded = _decode_ahead(lambda path: load_mask(path, size), files, 1, num_workers)
    for position, mask in zip(present, decoded, strict=True):
        masks[position] = mask
    return masks


def _decode_ahead(
    decode: Callable[[Path], Decoded], paths: Sequence[Path], batch_size: int, num_workers: int
) -> Iterator[Decoded]:
    """Apply `decode` to the paths in order, at most two batches ahead of the consumer."""
    if num_workers == 0:
        yield from map(decode, paths)
        return
    pending: deque[Future[Decoded]] = deque()
    with ThreadPoolExecutor(num_workers, thread_name_prefix="decode") as executor:
        try:
            for path in paths:
                pending.append(executor.submit(decode, path))
                if len(pending) >= 2 * batch_size + num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


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
