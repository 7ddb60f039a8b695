"""The per-region overlap against a loop over every threshold and every component."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from patchcore_ops.metrics.region_overlap import aupro, region_weights

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]


def components_of(masks: Masks) -> list[Masks]:
    """List each 8-connected component of each mask as a mask of the whole set."""
    components = []
    for image, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for label in range(1, count + 1):
            component = np.zeros_like(masks)
            component[image] = labels == label
            components.append(component)
    return components


def literal_aupro(maps: Maps, masks: Masks, limit: float) -> float:
    """Compute a point of the curve per threshold, then integrate it by trapezia."""
    components, normal = components_of(masks), ~masks
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        found = maps >= threshold
        rate = (found & normal).sum() / normal.sum()
        overlap = np.mean([(found & each).sum() / each.sum() for each in components])
        curve.append((float(rate), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < limit:
            end = min(x1, limit)
            y_end = y1 if end == x1 else y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


def random_problem(seed: int, levels: int | None) -> tuple[Maps, Masks]:
    """Draw smooth masks with several components, normal images, and maps that half agree."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(4, 18, 15)), (0, 1.2, 1.2))
    masks = smooth > 0.25
    masks[0] = False
    maps = smooth + 0.4 * rng.normal(size=smooth.shape)
    if levels is not None:
        maps = np.floor((maps - maps.min()) / np.ptp(maps) * levels)
    return maps.astype(np.float32), masks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 40, 6, 2])
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_aupro_equals_the_literal_computation(seed: int, levels: int | None, limit: float) -> None:
    maps, masks = random_problem(seed, levels)
    assert len(components_of(masks)) > 5
    expected = literal_aupro(maps, masks, limit)
    assert aupro(maps, masks, limit) == pytest.approx(expected, abs=1e-9)


def test_perfect_maps_reach_one_and_inverted_ones_zero() -> None:
    _, masks = random_problem(0, None)
    assert aupro(masks.astype(np.float32), masks) == pytest.approx(1.0)
    assert aupro(-masks.astype(np.float32), masks, 1.0) == pytest.approx(0.0)
    distinct = np.where(masks, 0, 1 + np.random.default_rng(0).random(masks.shape))
    assert aupro(distinct.astype(np.float32), masks) == pytest.approx(0.0)


def test_constant_maps_lie_on_the_diagonal() -> None:
    _, masks = random_problem(0, None)
    assert aupro(np.ones(masks.shape, dtype=np.float32), masks, 0.3) == pytest.approx(0.15)


def test_small_components_count_as_much_as_large_ones() -> None:
    masks = np.zeros((1, 20, 20), dtype=bool)
    masks[0, :10, :10] = True
    masks[0, 19, 19] = True
    found_large = np.zeros(masks.shape, dtype=np.float32)
    found_large[0, :10, :10] = 1
    found_small = np.zeros(masks.shape, dtype=np.float32)
    found_small[0, 19, 19] = 1
    assert aupro(found_large, masks) == pytest.approx(aupro(found_small, masks))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_masks_of_any_type(dtype: type) -> None:
    maps, masks = random_problem(1, None)
    assert aupro(maps, (masks * 255).astype(dtype)) == aupro(maps, masks)


@pytest.mark.parametrize("filled", [False, True])
def test_one_class_is_nan(filled: bool) -> None:
    assert math.isnan(aupro(np.zeros((2, 4, 4), np.float32), np.full((2, 4, 4), filled)))


def test_each_component_shares_one_among_its_pixels() -> None:
    _, masks = random_problem(2, None)
    components = components_of(masks)
    expected = np.zeros(masks.shape)
    for component in components:
        expected[component] = 1 / component.sum()
    np.testing.assert_allclose(region_weights(masks), expected)


def test_corners_connect_within_an_image_but_nothing_across_images() -> None:
    diagonal = np.zeros((2, 3, 3), dtype=bool)
    diagonal[0, 0, 0] = diagonal[0, 1, 1] = True
    diagonal[1, 1, 1] = True
    weights = region_weights(diagonal)
    assert weights[0, 0, 0] == weights[0, 1, 1] == 0.5
    assert weights[1, 1, 1] == 1.0


def test_no_masks_have_no_weights() -> None:
    assert region_weights(np.zeros((2, 4, 4), dtype=bool)).sum() == 0
    assert region_weights(np.zeros((0, 4, 4), dtype=bool)).shape == (0, 4, 4)
