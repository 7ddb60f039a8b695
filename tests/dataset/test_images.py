"""Images and masks: decoded, resized and cropped exactly as torchvision does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from torchvision import transforms

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.images import load_image, load_thumbnail
from patchcore_ops.dataset.masks import load_mask, load_masks

SHAPES = [
    # width, height, resize, imagesize
    (700, 512, 256, 224),
    (333, 517, 256, 224),
    (53, 211, 67, 34),
    (40, 30, 256, 255),
    (31, 8, 8, 8),
]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def torchvision_crop(image: Image.Image, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Resize and crop by the library that the reference uses."""
    steps = [transforms.Resize(size.resize), transforms.CenterCrop(size.imagesize)]
    return np.asarray(transforms.Compose(steps)(image))


@pytest.mark.parametrize(("width", "height", "resize", "imagesize"), SHAPES)
def test_image_equals_torchvision_exactly(
    tmp_path: Path, width: int, height: int, resize: int, imagesize: int
) -> None:
    size = ImageSize(resize=resize, imagesize=imagesize)
    image = noise(width, height)
    image.save(tmp_path / "image.png")
    loaded = load_image(tmp_path / "image.png", size)
    assert loaded.shape == (imagesize, imagesize, 3)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, torchvision_crop(image, size))


def test_mask_gets_the_same_resize_and_crop_as_its_image(tmp_path: Path) -> None:
    size = ImageSize(resize=40, imagesize=32)
    white = np.zeros((70, 90), dtype=np.uint8)
    white[20:51, 33:60] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    mask = load_mask(tmp_path / "mask.png", size)
    np.testing.assert_array_equal(mask, torchvision_crop(Image.fromarray(white), size))
    np.testing.assert_array_equal(mask, load_image(tmp_path / "mask.png", size)[..., 0])
    assert {0, 255} < set(np.unique(mask))


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_images_without_a_mask_have_an_empty_one(tmp_path: Path, num_workers: int) -> None:
    size = ImageSize(resize=16, imagesize=16)
    paths: list[Path | None] = []
    for number in range(7):
        Image.new("L", (16, 16), 255 if number % 3 else 0).save(tmp_path / f"{number}.png")
        paths.append(None if number % 2 else tmp_path / f"{number}.png")
    masks = load_masks(paths, size, num_workers)
    assert masks.shape == (7, 16, 16)
    filled = [bool((mask == 255).all()) for mask in masks]
    assert filled == [number % 2 == 0 and number % 3 != 0 for number in range(7)]
    assert masks.any(axis=(1, 2)).tolist() == filled


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    ("shape", "expected"), [((900, 900), (64, 64)), ((300, 900), (21, 64)), ((30, 20), (30, 20))]
)
def test_thumbnail_is_the_whole_image(
    tmp_path: Path, suffix: str, shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    width, height = shape
    ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / f"ramp{suffix}")
    small = load_thumbnail(tmp_path / f"ramp{suffix}", 64)
    assert small.dtype == np.uint8
    assert (small.shape[1], small.shape[0]) == expected
    assert small[:, 0].mean() < 12
    assert small[:, -1].mean() > 243
    assert np.abs(small.mean() - ramp.mean()) < 4
