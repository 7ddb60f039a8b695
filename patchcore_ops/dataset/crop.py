"""From an image to the network's input and back: the geometry of resizing and cropping."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import ImageSize

if TYPE_CHECKING:
    # Who serves a model needs no tables.
    import pandas as pd

Floats = npt.NDArray[np.float32]


class Crop(NamedTuple):
    """How an image becomes the network's input: resized as a whole, then cut."""

    width: int  # of the image
    height: int
    resized: tuple[int, int]  # width and height after resizing
    left: int  # where the crop begins in the resized image; negative where it begins in the padding
    top: int
    size: tuple[int, int]  # height and width of the crop

    @staticmethod
    def of(width: int, height: int, size: ImageSize) -> Crop:
        """Say how an image of a size is resized and cut; cutting rounds as torchvision does."""
        rows, columns = size.crop_size
        if size.fit == "stretch":
            resized = columns, rows
        elif size.fit == "pad":
            resized = _fitting_in(width, height, size)
        else:
            resized = _covering(width, height, size)
        left = round((resized[0] - columns) / 2)
        top = round((resized[1] - rows) / 2)
        return Crop(width, height, resized, left, top, (rows, columns))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The crop in the resized image: left, top, right, bottom."""
        return self.left, self.top, self.left + self.size[1], self.top + self.size[0]

    @property
    def inside(self) -> tuple[int, int, int, int]:
        """The part of the crop that shows the image, without padding: left, top, right, bottom."""
        return (
            max(-self.left, 0),
            max(-self.top, 0),
            min(self.resized[0] - self.left, self.size[1]),
            min(self.resized[1] - self.top, self.size[0]),
        )

    @property
    def pixel_area(self) -> float:
        """How many pixels of the image one of the crop stands for."""
        return self._across * self._down

    def point_in_image(self, x: float, y: float) -> tuple[int, int]:
        """Return the image's pixel in which a point of the crop lies."""
        column, row = (self.left + x) * self._across, (self.top + y) * self._down
        return (
            min(max(int(column), 0), self.width - 1),
            min(max(int(row), 0), self.height - 1),
        )

    def box_in_image(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[int, int, int, int]:
        """Return the smallest box of whole pixels of the image that covers a box of the crop."""
        return (
            max(math.floor((self.left + left) * self._across), 0),
            max(math.floor((self.top + top) * self._down), 0),
            min(math.ceil((self.left + right) * self._across), self.width),
            min(math.ceil((self.top + bottom) * self._down), self.height),
        )

    def map_in_image(self, values: Floats) -> Floats:
        """Return a map of the crop at the image's size, bilinearly; NaN where there is no crop."""
        left, top, right, bottom = self.inside
        rows = np.arange(0.5, self.height) / self._down - self.top - top
        columns = np.arange(0.5, self.width) / self._across - self.left - left
        seen = values[top:bottom, left:right]
        found = _interpolated(_interpolated(seen, rows).T, columns).T
        found[(rows < 0) | (rows >= len(seen))] = np.nan
        found[:, (columns < 0) | (columns >= seen.shape[1])] = np.nan
        return found

    @property
    def _across(self) -> float:
        return self.width / self.resized[0]

    @property
    def _down(self) -> float:
        return self.height / self.resized[1]


def _interpolated(values: Floats, places: npt.NDArray[np.floating]) -> Floats:
    """Interpolate rows at places from the upper edge on; beyond the outermost, values continue."""
    at = np.clip(places - 0.5, 0, len(values) - 1)
    above = at.astype(np.intp)
    below = np.minimum(above + 1, len(values) - 1)
    share = (at - above).astype(np.float32)[:, None]
    return np.asarray(values[above] * (1 - share) + values[below] * share)


def insides_of(images: pd.DataFrame, size: ImageSize) -> npt.NDArray[np.int64] | None:
    """Return `Crop.inside` of a manifest's rows, shape [n, 4]; None where nothing is padded."""
    if size.fit != "pad":
        return None
    sizes = zip(images["width"].tolist(), images["height"].tolist(), strict=True)
    boxes = [Crop.of(width, height, size).inside for width, height in sizes]
    return np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _fitting_in(width: int, height: int, size: ImageSize) -> tuple[int, int]:
    """Return width and height after resizing to at most those of the crop."""
    rows, columns = size.crop_size
    to, of = min([(columns, width), (rows, height)], key=lambda pair: Fraction(*pair))
    return max(to * width // of, 1), max(to * height // of, 1)


def _covering(width: int, height: int, size: ImageSize) -> tuple[int, int]:
    """Return width and height after resizing: as `resize` says, and no less than the crop."""
    rows, columns = size.crop_size
    wanted = [(columns, width), (rows, height)]
    if isinstance(size.resize, int):
        wanted.append((size.resize, min(width, height)))
    else:
        wanted.extend([(size.resize[1], width), (size.resize[0], height)])
    to, of = max(wanted, key=lambda pair: Fraction(*pair))
    # Rounded down, as torchvision does.
    return to * width // of, to * height // of
