"""`imagesize: auto` takes the proportions of most train images."""

from __future__ import annotations

import pandas as pd
import pytest

from patchcore_ops.config.recorded_settings import differences, record
from patchcore_ops.config.sections import CategoryConfig, ImageSize
from patchcore_ops.dataset.auto_size import decided_as, with_decided_size
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.runtime.fingerprints import file_hash


def manifest(*sizes: tuple[int, int]) -> pd.DataFrame:
    """Return train images of these widths and heights, and a test image of another form."""
    rows = [{"split": "train", "width": width, "height": height} for width, height in sizes]
    return pd.DataFrame([*rows, {"split": "test", "width": 10, "height": 900}])


@pytest.mark.parametrize(
    ("resize", "sizes", "expected"),
    [
        (256, [(500, 1260)], (640, 256)),
        (256, [(1260, 500)], (256, 640)),
        (256, [(900, 900)], 256),
        # Rounded down, so that the resized image covers it.
        (250, [(900, 900)], 224),
        (64, [(100, 100), (100, 210), (100, 190)], (128, 64)),
        (64, [(60, 66)], 64),
        (64, [(100, 5000)], (3200, 64)),
    ],
)
def test_the_median_proportions_count(
    resize: int, sizes: list[tuple[int, int]], expected: int | tuple[int, int]
) -> None:
    config = CategoryConfig(dataset=ImageSize(resize=resize, imagesize="auto", max_pixels=10**6))
    found = with_decided_size(config, manifest(*sizes)).dataset
    assert (found.resize, found.imagesize, found.max_pixels) == (resize, expected, 10**6)


def test_proportions_that_no_input_has_are_refused() -> None:
    config = CategoryConfig(dataset=ImageSize(imagesize="auto"))
    with pytest.raises(ConfigError, match=r"dataset\.imagesize: auto would be 6400 pixels"):
        with_decided_size(config, manifest((200, 5000)))
    # Nothing is cut off.
    padded = CategoryConfig(dataset=ImageSize(fit="pad", imagesize="auto"))
    found = with_decided_size(padded, manifest((200, 5000)))
    assert found.dataset.imagesize == (4096, 256)


def test_numbers_stay_and_are_what_auto_stood_for() -> None:
    numbers = CategoryConfig(dataset=ImageSize(resize=128, imagesize=(96, 64)))
    assert with_decided_size(numbers, manifest((1, 2))) is numbers
    auto = CategoryConfig(dataset=ImageSize(resize=128, imagesize="auto"))
    assert decided_as(auto, numbers).dataset == numbers.dataset
    assert decided_as(numbers, auto) is numbers
    now, used = (record(one, ["dataset"], file_hash) for one in (auto, numbers))
    assert differences(used, now) == []
    other = CategoryConfig(dataset=ImageSize(imagesize="auto"))
    [one] = differences(used, record(other, ["dataset"], file_hash))
    assert (one.key, one.used, one.other) == ("dataset.resize", "128", "256")
    with pytest.raises(ValueError, match="auto, which raw_embeddings has to decide first"):
        _ = auto.dataset.crop_size
