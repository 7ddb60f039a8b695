"""Regions by their definition, in the pixels of the image that was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_kit import RUNTIME, Benchmarked
from PIL import Image

from patchcore_ops import Model
from patchcore_ops.calibration import Calibration
from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.images import load_with_crop
from patchcore_ops.model.regions import regions_above


def by_flooding(above: np.ndarray) -> list[set[tuple[int, int]]]:
    """List the connected parts, pixel by pixel."""
    left = {(int(row), int(column)) for row, column in np.argwhere(above)}
    parts = []
    while left:
        part, waiting = set(), [left.pop()]
        while waiting:
            row, column = waiting.pop()
            part.add((row, column))
            for near in [(row + down, column + over) for down in (-1, 0, 1) for over in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        parts.append(part)
    return parts


def test_regions_are_connected_parts_above_the_threshold() -> None:
    values = np.random.default_rng(2).random((24, 24)).astype(np.float32)
    crop = Crop.of(24, 24, ImageSize(resize=24, imagesize=24))
    expected = []
    for part in by_flooding(values > 0.8):
        peak = max(part, key=lambda at: values[at])
        rows, columns = zip(*part, strict=True)
        box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        expected.append((box, float(len(part)), float(values[peak]), (peak[1], peak[0])))
    expected.sort(key=lambda region: -region[2])
    found = regions_above(values, 0.8, crop)
    assert [tuple(region) for region in found] == expected
    assert regions_above(values, 2.0, crop) == ()


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (64, 64), (200, 50)])
def test_a_white_spot_is_found_where_it_is_in_the_image(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    width, height = size
    pixels = np.zeros((height, width), dtype=np.uint8)
    top, left = height // 2 - 4, width // 2 + 3
    pixels[top : top + 8, left : left + 8] = 255
    Image.fromarray(pixels).save(tmp_path / "spot.png")
    crop_of, crop = load_with_crop(tmp_path / "spot.png", ImageSize(resize=64, imagesize=56))
    region = regions_above(crop_of[..., 0].astype(np.float32), 127, crop)[0]
    spot = (left, top, left + 8, top + 8)
    # By no more than a pixel of the crop, in pixels of the image.
    allowed = 1 + min(size) / 64
    assert all(abs(one - other) <= allowed for one, other in zip(region.box, spot, strict=True))
    assert region.area == pytest.approx(64, rel=0.35)
    x, y = region.peak_at
    assert left <= x < left + 8
    assert top <= y < top + 8


def test_a_calibrated_model_marks_what_exceeds_its_thresholds(
    single: Benchmarked, model: Path
) -> None:
    loaded = Model.load(model, RUNTIME)
    calibration = loaded.description.calibration
    assert calibration is not None
    assert calibration.pixel_threshold is not None
    for found, score in zip(loaded.predict(single.images), single.scores["score"], strict=True):
        assert found.is_anomaly is bool(score > calibration.image_threshold)
        assert found.p_value == pytest.approx(
            (1 + sum(normal >= score for normal in calibration.normal_scores))
            / (1 + len(calibration.normal_scores))
        )
        assert bool(found.regions) == bool((found.anomaly_map > calibration.pixel_threshold).any())


def test_a_model_without_calibration_gives_scores_alone(single: Benchmarked, model: Path) -> None:
    loaded = Model.load(model, RUNTIME)
    loaded.description = loaded.description.model_copy(
        update={"calibration": Calibration.over([], [], 0.01)}
    )
    found = loaded.predict(single.images[0])[0]
    assert (found.is_anomaly, found.p_value, found.probability, found.regions) == (
        None,
        None,
        None,
        (),
    )
