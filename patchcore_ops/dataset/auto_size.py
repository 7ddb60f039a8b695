"""`imagesize: auto`: the network's input in the proportions of a category's train images."""

from __future__ import annotations

import pandas as pd

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.config.setting_types import LARGEST_SIDE
from patchcore_ops.runtime.errors import ConfigError

# The stride of the deepest layers of most networks.
_MULTIPLE = 32


def with_decided_size(config: CategoryConfig, images: pd.DataFrame) -> CategoryConfig:
    """Return settings with numbers in place of `imagesize: auto`, by the images of a manifest.

    The shorter side is `resize`, and the other that of the median proportions of the train images;
    both are multiples of 32. Raises ConfigError if a crop of them would be too large.

    Examples
    --------
    >>> from patchcore_ops.config.sections import ImageSize
    >>> config = CategoryConfig(dataset=ImageSize(imagesize="auto"))
    >>> images = pd.DataFrame({"split": ["train"], "width": [500], "height": [1260]})
    >>> with_decided_size(config, images).dataset.imagesize
    (640, 256)
    """
    resize = config.dataset.resize
    if config.dataset.imagesize != "auto" or not isinstance(resize, int):
        return config
    train = images[images["split"] == "train"]
    ratio = float((train["height"] / train["width"]).median())
    # The shorter side must not exceed `resize`.
    shorter = resize // _MULTIPLE * _MULTIPLE
    longer = round(shorter * max(ratio, 1 / ratio) / _MULTIPLE) * _MULTIPLE
    if longer > LARGEST_SIDE and config.dataset.fit == "crop":
        raise ConfigError(
            f"dataset.imagesize: auto would be {longer} pixels for the longer side, where "
            f"{LARGEST_SIDE} are the most, so that the ends of the images would not be seen; lower "
            "dataset.resize, or write dataset.imagesize in numbers"
        )
    longer = min(longer, LARGEST_SIDE)
    return _with_size(config, (shorter, longer) if ratio < 1 else (longer, shorter))


def decided_as(config: CategoryConfig, made: CategoryConfig) -> CategoryConfig:
    """Return settings with the size that was decided for what was made, where they say `auto`."""
    if config.dataset.imagesize != "auto":
        return config
    return _with_size(config, made.dataset.crop_size)


def _with_size(config: CategoryConfig, size: tuple[int, int]) -> CategoryConfig:
    # As if it were written: a pair of equal sides is one number.
    section = {**config.dataset.model_dump(), "imagesize": size}
    section["max_pixels"] = config.dataset.max_pixels
    dataset = type(config.dataset).model_validate(section)
    return config.model_copy(update={"dataset": dataset})
