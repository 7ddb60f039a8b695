"""A white spot, followed from an image into the network's input and back, for every geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.images import load_image
from patchcore_ops.dataset.masks import load_mask

GEOMETRIES = [
    ImageSize(resize=64, imagesize=56),
    ImageSize(resize=64, imagesize=(96, 64)),
    ImageSize(resize=(72, 100), imagesize=(64, 96)),
    ImageSize(resize=(72, 100), imagesize=48),
    ImageSize(fit="stretch", imagesize=(96, 40)),
    ImageSize(fit="stretch", imagesize=48),
    ImageSize(fit="pad", imagesize=(96, 40)),
    ImageSize(fit="pad", imagesize=64),
]
SHAPES = [(90, 60), (60, 90), (64, 64), (200, 50), (31, 150)]


def point_in_crop(crop: Crop, x: float, y: float) -> tuple[float, float]:
    across, down = crop.width / crop.resized[0], crop.height / crop.resized[1]
    return x / across - crop.left, y / down - crop.top


@pytest.mark.parametrize("size", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_a_white_spot_is_followed_there_and_back(
    tmp_path: Path, width: int, height: int, size: ImageSize
) -> None:
    crop = Crop.of(width, height, size)
    # Somewhere in what is seen of it, off its centre.
    left, top, right, bottom = crop.inside
    column, row = crop.point_in_image(0.4 * left + 0.6 * right, 0.65 * top + 0.35 * bottom)
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[row - 1 : row + 2, column - 1 : column + 2] = 255
    Image.fromarray(pixels).save(tmp_path / "spot.png")
    image, mask = load_image(tmp_path / "spot.png", size), load_mask(tmp_path / "spot.png", size)
    assert image.shape == (*size.crop_size, 3)
    np.testing.assert_array_equal(image[..., 0], mask)
    # There: its centre of gravity is where the centre of the pixel is said to be.
    weights = mask / mask.sum()
    rows, columns = np.indices(mask.shape) + 0.5
    x, y = point_in_crop(crop, column + 0.5, row + 0.5)
    assert (weights * columns).sum() == pytest.approx(x, abs=0.3)
    assert (weights * rows).sum() == pytest.approx(y, abs=0.3)
    # And back: it is the same pixel, and the box of what is bright covers the spot.
    assert crop.point_in_image(x, y) == (column, row)
    bright = np.argwhere(mask > 0)
    (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
    found = crop.box_in_image(left, top, right, bottom)
    assert found[0] <= column - 1
    assert found[1] <= row - 1
    assert found[2] >= column + 2
    assert found[3] >= row + 2
    # A map of it lies there too, at the image's size, and lacks what was cut off.
    seen = crop.map_in_image(mask.astype(np.float32))
    assert seen.shape == pixels.shape
    weights = np.nan_to_num(seen) / np.nansum(seen)
    rows, columns = np.indices(seen.shape)
    assert (weights * columns).sum() == pytest.approx(column, abs=0.5)
    assert (weights * rows).sum() == pytest.approx(row, abs=0.5)
    spot = pixels.astype(np.float32)
    spot[np.isnan(seen)] = np.nan
    assert np.nanmean(np.abs(seen - spot)) < 6
    for y, x in ((0, 0), (height - 1, width - 1)):
        inside = 0 <= point_in_crop(crop, x + 0.5, y + 0.5)[0] < crop.size[1]
        inside &= 0 <= point_in_crop(crop, x + 0.5, y + 0.5)[1] < crop.size[0]
        assert np.isnan(seen[y, x]) == (not inside)


def test_a_map_of_a_plane_is_that_plane_in_the_image() -> None:
    crop = Crop.of(50, 126, ImageSize(resize=(128, 50), imagesize=(96, 32)))
    rows, columns = np.indices(crop.size) + 0.5
    seen = crop.map_in_image((2 * rows - 3 * columns).astype(np.float32))
    y, x = np.indices(seen.shape) + 0.5
    across, down = point_in_crop(crop, x, y)  # type: ignore[arg-type]
    # Half a pixel from the edge on, beyond which values continue.
    inner = (down >= 0.5) & (down <= 95.5) & (across >= 0.5) & (across <= 31.5)  # type: ignore[operator]
    np.testing.assert_allclose(seen[inner], (2 * down - 3 * across)[inner], atol=1e-3)
    assert np.isnan(seen[(down < 0) | (down > 96)]).all()  # type: ignore[operator]


sides = st.integers(8, 300)
pairs = st.tuples(sides, sides)


@given(pairs, pairs, st.integers(0, 80), st.booleans())
def test_a_crop_lies_inside_of_the_resized_image_whose_proportions_are_kept(
    image: tuple[int, int], imagesize: tuple[int, int], margin: int, is_pair: bool
) -> None:
    width, height = image
    wanted = (imagesize[0] + margin, imagesize[1] + margin) if is_pair else max(imagesize) + margin
    crop = Crop.of(width, height, ImageSize(resize=wanted, imagesize=imagesize))
    left, top, right, bottom = crop.box
    assert (bottom - top, right - left) == imagesize
    assert min(left, top) >= 0
    assert right <= crop.resized[0]
    assert bottom <= crop.resized[1]
    scales = crop.resized[0] / width, crop.resized[1] / height
    assert abs(scales[0] - scales[1]) <= max(1 / width, 1 / height)
    # No larger than it has to be: one side is exactly what was asked for.
    asked = (wanted[1], wanted[0]) if isinstance(wanted, tuple) else (wanted, wanted)
    assert crop.resized[0] in (asked[0], imagesize[1]) or crop.resized[1] in (
        asked[1],
        imagesize[0],
    )


def test_a_pair_of_equal_sides_is_one_number() -> None:
    size = ImageSize(resize=(256, 256), imagesize=(224, 224))
    assert size == ImageSize()
    assert size.model_dump(mode="json") == {"resize": 256, "imagesize": 224}
    tall = ImageSize(imagesize=(640, 256))
    assert tall.model_dump(mode="json") == {"resize": 256, "imagesize": [640, 256]}
    assert ImageSize.model_validate(tall.model_dump(mode="json")) == tall
    assert ImageSize(fit="stretch").model_dump(mode="json")["fit"] == "stretch"
