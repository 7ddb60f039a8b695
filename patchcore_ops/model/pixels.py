"""Whatever an image is, as the network's input."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.image_formats import EncodedImage, UnfitImage, decoding, refuse_unfit
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.dataset.images import load_with_crop, resize_and_crop, to_mode
from patchcore_ops.runtime.errors import DatasetError

AnyImage = str | os.PathLike[str] | EncodedImage | Image.Image | npt.NDArray[Any]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_GREY, _COLOUR = 2, 3


class NamedImage(NamedTuple):
    """An image, or why it is none, and what to call it where something is wrong."""

    name: str
    image: AnyImage | DatasetError


def named(images: AnyImage | Iterable[AnyImage]) -> Iterator[NamedImage]:
    """Yield the images of an iterable, or the single one, with their names.

    An array of two dimensions, or of three with 3 or 4 channels, is one image. An iterator may give
    one object again with other pixels, so that what it gives is copied. Raises DatasetError if they
    are no images at all.
    """
    if isinstance(images, bytes) or not (_is_single(images) or isinstance(images, Iterable)):
        raise DatasetError(
            f"images: {type(images).__name__} is none; give a path, a PIL image, an array, an "
            "EncodedImage of bytes, or an iterable of these"
        )
    several: Iterable[AnyImage] = [images] if _is_single(images) else images  # type: ignore[assignment,list-item]
    is_at_rest = isinstance(several, Sequence | np.ndarray)
    for position, image in enumerate(several):
        name = f"image {position}"
        if isinstance(image, str | os.PathLike):
            name = str(image)
        elif isinstance(image, EncodedImage):
            name = image.name
        yield NamedImage(name, _held(name, image, is_at_rest))


def _held(name: str, image: AnyImage, is_at_rest: bool) -> AnyImage | DatasetError:
    """Decode or copy an image, so that threads may read it while the next one is taken."""
    if isinstance(image, str | os.PathLike | EncodedImage):
        return image
    try:
        with decoding(name):
            if not isinstance(image, Image.Image):
                return image if is_at_rest else np.asarray(image).copy()
            image.load()
            return image if is_at_rest else image.copy()
    except DatasetError as problem:
        return problem


def count_up_to(most: int, images: AnyImage | Iterable[AnyImage]) -> int:
    """Count the images without taking any: `most` if there are more, or who knows how many.

    Examples
    --------
    >>> endless = (image for image in ["a.png"])
    >>> count_up_to(4, "a.png"), count_up_to(4, ["a.png", "b.png"]), count_up_to(4, endless)
    (1, 2, 4)
    """
    return 1 if _is_single(images) else max(min(length_hint(images, most), most), 1)


def _is_single(images: Any) -> bool:
    return isinstance(images, str | os.PathLike | EncodedImage | Image.Image) or _is_one(images)


def _is_one(images: Any) -> bool:
    # What can become an array, such as torch's tensors, has the shape of one.
    if not hasattr(images, "__array__"):
        return False
    shape: tuple[int, ...] = getattr(images, "shape", ())
    return len(shape) == _GREY or (len(shape) == _COLOUR and shape[-1] in (1, 3, 4))


def pixels_of(one: NamedImage, size: ImageSize) -> tuple[Pixels, Crop]:
    """Prepare an image as the benchmark does: its RGB pixels, and where they lie in the image.

    An array is uint8, [H, W] or [H, W, 1] (grey), [H, W, 3] (RGB) or [H, W, 4] (RGBA). Raises
    DatasetError if the file or the array cannot be used.
    """
    image = one.image
    if isinstance(image, DatasetError):
        raise image
    if isinstance(image, str | os.PathLike):
        with decoding(one.name):
            if not Path(image).exists():
                raise UnfitImage("no such file; correct the name")
        return load_with_crop(Path(image), size)
    if isinstance(image, EncodedImage):
        return load_with_crop(image, size)
    if not isinstance(image, Image.Image):
        image = _picture(one.name, np.asarray(image))
    if image.width * image.height > size.max_pixels:
        raise DatasetError(
            f"{one.name}: has {image.width} x {image.height} pixels, and the model takes up to "
            f"{size.max_pixels}; make it smaller"
        )
    with decoding(one.name):
        refuse_unfit(image)
        pixels = np.asarray(resize_and_crop(to_mode(image, "RGB"), size))
    return pixels, Crop.of(*image.size, size)


def _picture(name: str, array: npt.NDArray[Any]) -> Image.Image:
    if array.dtype != np.uint8 or not (_is_one(array) and array.size):
        raise DatasetError(
            f"{name}: an array of {array.dtype}, shape {list(array.shape)}, is no image; give "
            "uint8 values, shape [height, width], or with 3 (RGB) or 4 (RGBA) channels at the end"
        )
    grey = array.ndim == _COLOUR and array.shape[-1] == 1
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if grey else array))


def ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> Generator[_Result]:
    """Apply a function in threads, in order, only a few items ahead."""
    with ThreadPoolExecutor(workers, thread_name_prefix="image") as executor:
        pending: deque[Future[_Result]] = deque()
        try:
            for item in items:
                pending.append(executor.submit(function, item))
                while len(pending) > 2 * workers or (pending and pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)
