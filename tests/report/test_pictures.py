"""Pictures of predictions: shapes, colours, outlines and strips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from patchcore_ops.inspection.heat_map import heat_colours, overlay_heat
from patchcore_ops.report.pictures import (
    captioned,
    contact_sheet,
    outline_mask,
    prediction_strip,
    stack_strips,
)
from patchcore_ops.stages.illustrations import train_contact_sheet

HEIGHT, WIDTH = 40, 40


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[10:20, 12:30] = True
    return mask


@pytest.fixture
def anomaly_map() -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.exp(-((rows - 15) ** 2 + (columns - 21) ** 2) / 60).astype(np.float32)


def test_colours_run_from_cold_to_hot_and_clip_beyond(image: np.ndarray) -> None:
    for shape in ((), (5,), (2, 3, 4)):
        assert heat_colours(np.zeros(shape), 0, 1).shape == (*shape, 3)
    colours = heat_colours(np.array([-9.0, 2, 3, 4, 99]), 2, 4)
    assert colours.dtype == np.uint8
    assert colours[0].tolist() == colours[1].tolist()
    assert colours[3].tolist() == colours[4].tolist()
    cold, hot = colours[1].astype(int), colours[3].astype(int)
    assert cold[2] > cold[0]
    assert hot[0] > hot[2]
    assert len(np.unique(heat_colours(np.linspace(0, 1, 60), 0, 1), axis=0)) == 60
    flat = np.full((HEIGHT, WIDTH), 3.0)
    assert np.unique(heat_colours(flat, 3, 3).reshape(-1, 3), axis=0).shape == (1, 3)
    assert overlay_heat(image, flat, 3, 3).shape == image.shape


def test_overlay_hides_the_image_more_where_it_is_more_anomalous(
    image: np.ndarray, anomaly_map: np.ndarray
) -> None:
    inverted = 255 - image
    difference = np.abs(
        overlay_heat(image, anomaly_map, 0, 1).astype(int)
        - overlay_heat(inverted, anomaly_map, 0, 1)
    )
    contrast = difference.sum(axis=2) / np.abs(image.astype(int) - inverted).sum(axis=2)
    by_heat = contrast.ravel()[np.argsort(anomaly_map.ravel())]
    assert by_heat[:200].mean() > by_heat[-200:].mean() > 0.2


def test_outline_surrounds_the_mask_and_touches_nothing_else(
    image: np.ndarray, mask: np.ndarray
) -> None:
    before = image.copy()
    outlined = outline_mask(image, mask)
    np.testing.assert_array_equal(image, before)
    changed = (outlined != image).any(axis=2)
    assert changed.any()
    assert not (changed & mask).any()
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max()) == (8, 21)
    assert (columns.min(), columns.max()) == (10, 31)
    assert len(np.unique(outlined[changed], axis=0)) == 1


def test_strip_shows_image_truth_and_heat(
    image: np.ndarray, mask: np.ndarray, anomaly_map: np.ndarray
) -> None:
    nothing = np.zeros_like(mask)
    plain = overlay_heat(image, anomaly_map, 0, 1)
    np.testing.assert_array_equal(outline_mask(plain, nothing), plain)
    for truth, grey in ((mask, mask * 255), (None, nothing + 128), (nothing, nothing * 0)):
        strip = prediction_strip(image, truth, anomaly_map, 0, 1)
        assert strip.shape == (HEIGHT, 3 * WIDTH + 8, 3)
        assert strip.dtype == np.uint8
        shown, first_gap, middle, second_gap, heat = np.split(
            strip, np.cumsum([WIDTH, 4, WIDTH, 4]), axis=1
        )
        np.testing.assert_array_equal(shown, image)
        np.testing.assert_array_equal(middle, np.repeat(grey[..., None], 3, axis=2))
        np.testing.assert_array_equal(heat, plain if truth is None else outline_mask(plain, truth))
        assert (first_gap == 255).all()
        assert (second_gap == 255).all()


def test_strips_are_stacked_with_gaps_and_scaled_to_a_height(image: np.ndarray) -> None:
    np.testing.assert_array_equal(stack_strips([image]), image)
    stacked = stack_strips([image, 255 - image, image])
    assert stacked.shape == (3 * HEIGHT + 8, WIDTH, 3)
    np.testing.assert_array_equal(stacked[HEIGHT + 4 : 2 * HEIGHT + 4], 255 - image)
    assert (stacked[HEIGHT : HEIGHT + 4] == 255).all()


def test_caption_stands_above_the_picture(image: np.ndarray) -> None:
    shown = captioned(image, "good/000.png   1.25", size=15)
    assert shown.shape == (HEIGHT + 22, WIDTH, 3)
    np.testing.assert_array_equal(shown[22:], image)
    assert (shown[:22] < 128).any(), "there is no writing"
    assert (shown[:2] == 255).all()


@pytest.mark.parametrize("caption", ["", "überlang " * 40, "絵/\N{GRINNING FACE}.png", "a\nb"])
def test_any_caption_keeps_the_width(image: np.ndarray, caption: str) -> None:
    assert captioned(image, caption).shape[1] == WIDTH


def test_contact_sheet_centres_each_picture_in_its_square() -> None:
    pictures = [np.full((10, 6, 3), at, dtype=np.uint8) for at in range(5)]
    sheet = contact_sheet(pictures, columns=3, side=10)
    assert sheet.shape == (24, 38, 3)
    for at, picture in enumerate(pictures):
        top, left = at // 3 * 14, at % 3 * 14
        np.testing.assert_array_equal(sheet[top : top + 10, left + 2 : left + 8], picture)
    assert (sheet[14:, 28:] == 255).all(), "the place of the sixth stays white"


def test_contact_sheet_shows_train_images_and_greys_out_unreadable_ones(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    paths = [f"part/{at}.png" for at in range(4)]
    for at, path in enumerate(paths):
        Image.new("RGB", (400, 300), (60 * at, 0, 0)).save(tmp_path / path)
    (tmp_path / paths[1]).write_bytes(b"no image")
    manifest = pd.DataFrame({"split": ["train"] * 3 + ["test"], "path": paths})
    sheet = train_contact_sheet(manifest, tmp_path)
    assert sheet.shape == (170, 3 * 174 - 4, 3)
    middles = [sheet[85, 85 + 174 * at].tolist() for at in range(3)]
    assert middles == [[0, 0, 0], [128, 128, 128], [120, 0, 0]]
