"""The settings of an image's way into the network: resized, cut, stretched or padded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from patchcore_ops.config.setting_types import (
    Section,
    Sides,
    SidesOrAuto,
    height_and_width,
    sides_text,
)

Fit = Literal["crop", "stretch", "pad"]
_LEAST_OF_AUTO = 32


class ImageSize(Section):
    """How an image becomes the network's input.

    Attributes
    ----------
    fit : "crop", "stretch" or "pad"
        The image is resized with its aspect ratio kept, and the centre cut out; or resized as a
        whole to `imagesize`, whatever its aspect ratio; or resized as a whole with its aspect ratio
        kept, in the middle of a black input.
    resize : int or (int, int)
        For `crop`: the shorter side after resizing; or a height and a width that the resized image
        covers. Where it would not cover `imagesize`, the image is resized so that it does.
    imagesize : int, (int, int) or "auto"
        The network's input: one side of a square, or height and width; or the median proportions of
        the train images, with `resize` for the shorter side, in multiples of 32.
    """

    # Artefacts that record their settings keep the bytes that they had before there was `fit`.
    fit: Fit = Field("crop", exclude_if=lambda fit: fit == "crop")
    resize: Sides = 256
    imagesize: SidesOrAuto = 224
    # From here on Pillow refuses images by itself, unless it is told otherwise.
    max_pixels: int = Field(178_956_970, ge=1, le=2**32, exclude=True)

    @field_validator("imagesize")
    @classmethod
    def _crop_fits(
        cls, imagesize: int | tuple[int, int] | Literal["auto"], info: ValidationInfo
    ) -> int | tuple[int, int] | Literal["auto"]:
        if "resize" not in info.data:
            return imagesize
        resize = info.data["resize"]
        if imagesize == "auto":
            if not isinstance(resize, int) or resize < _LEAST_OF_AUTO:
                raise ValueError(
                    f"auto needs one number of at least {_LEAST_OF_AUTO} for resize, the shorter "
                    f"side (got {sides_text(resize)})"
                )
            return imagesize
        height, width = height_and_width(imagesize)
        least = (min(height, width),) * 2 if isinstance(resize, int) else (height, width)
        exceeds = any(
            cut > whole for cut, whole in zip(least, height_and_width(resize), strict=True)
        )
        if exceeds and info.data.get("fit") == "crop":
            raise ValueError(
                f"imagesize ({sides_text(imagesize)}) must not exceed resize "
                f"({sides_text(resize)}), or the crop would be padded with black"
            )
        return imagesize

    @property
    def sides(self) -> int | tuple[int, int]:
        """The numbers of `imagesize`; `auto` has none before raw_embeddings decides them."""
        if self.imagesize == "auto":
            raise ValueError("dataset.imagesize is auto, which raw_embeddings has to decide first")
        return self.imagesize

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the network's input, and of masks and maps."""
        return height_and_width(self.sides)
