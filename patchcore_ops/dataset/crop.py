"""From an image to the network's input and back: the geometry of resizing and cropping."""

from __future__ import annotations

import math
from typing import NamedTuple

from patchcore_ops.config.sections import ImageSize


class Crop(NamedTuple):
    """How an image becomes the network's input: resized as a whole, then cut.

    Attributes
    ----------
    width, height : int
        Of the image.
    resized : tuple of int
        (width, height) after resizing.
    left, top : int
        Where the crop begins in the resized image.
    side : int
        Of the crop.
    """

    width: int
    height: int
    resized: tuple[int, int]
    left: int
    top: int
    side: int

    @staticmethod
    def of(width: int, height: int, size: ImageSize) -> Crop:
        """Resize the shorter side, crop the centre, with torchvision's rounding of both."""
        if width <= height:
            resized = (size.resize, int(size.resize * height / width))
        else:
            resized = (int(size.resize * width / height), size.resize)
        left = round((resized[0] - size.imagesize) / 2)
        top = round((resized[1] - size.imagesize) / 2)
        return Crop(width, height, resized, left, top, size.imagesize)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The crop in the resized image: left, top, right, bottom."""
        return self.left, self.top, self.left + self.side, self.top + self.side

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

    @property
    def _across(self) -> float:
        return self.width / self.resized[0]

    @property
    def _down(self) -> float:
        return self.height / self.resized[1]
