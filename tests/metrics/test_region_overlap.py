"""The per-region overlap against a loop over every threshold and every component."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from patchcore_ops.metrics import aupro

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
LIMITS = [0.05, 0.3, 1.0]
# Strictly increasing over the levels that are drawn.
TRANSFORM = -1 / (1 + np.arange(21, dtype=np.float32))


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


def literal_aupro(maps: Maps, masks: Masks, limit: float, unseen: Masks | None = None) -> float:
    """Compute a point of the curve per threshold, then integrate it by trapezia.

    What is unseen is never found, and its sound pixels are left out.
    """
    components, normal = components_of(masks), ~masks
    if unseen is not None:
        maps, normal = np.where(unseen, np.float32(-np.inf), maps), normal & ~unseen
    if not components or masks.all():
        return math.nan
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        found = maps >= np.float32(threshold)
        overlap = np.mean([(found & each).sum() / each.sum() for each in components])
        curve.append((float((found & normal).sum() / normal.sum()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < limit:
            end = min(x1, limit)
            y_end = y1 if end == x1 else y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@st.composite
def pictures(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], Masks]:
    """Draw anomaly maps of few levels, and masks with some components, none or nothing else."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    maps = rng.integers(0, draw(st.integers(1, 21)), size=shape)
    return maps, rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.4, 1.0]))


@settings(deadline=None, max_examples=150)
@given(drawn=pictures(), limit=st.sampled_from(LIMITS), seed=st.integers(0, 99))
def test_aupro_is_its_definition_whatever_the_order_and_scale(
    drawn: tuple[npt.NDArray[np.int64], Masks], limit: float, seed: int
) -> None:
    levels, masks = drawn
    maps = levels.astype(np.float32)
    expected = pytest.approx(literal_aupro(maps, masks, limit), abs=1e-9, nan_ok=True)
    assert aupro(maps, masks, limit) == expected
    order = np.random.default_rng(seed).permutation(len(maps))
    assert aupro(TRANSFORM[levels][order], masks[order], limit) == expected
    assert aupro(maps.transpose(0, 2, 1)[:, ::-1], masks.transpose(0, 2, 1)[:, ::-1], limit) == (
        expected
    )


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("limit", LIMITS)
def test_aupro_of_continuous_maps_and_masks_of_any_type(limit: float, dtype: type) -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(4, 18, 15)), (0, 1.2, 1.2))
    masks = smooth > 0.25
    masks[0] = False
    assert len(components_of(masks)) > 5
    maps = (smooth + 0.4 * rng.normal(size=smooth.shape)).astype(np.float32)
    found = aupro(maps, (masks * 255).astype(dtype), limit)
    assert found == pytest.approx(literal_aupro(maps, masks, limit), abs=1e-9)


@pytest.mark.parametrize("limit", LIMITS)
def test_defects_that_were_not_seen_are_missed_and_other_unseen_pixels_do_not_count(
    limit: float,
) -> None:
    maps = np.random.default_rng(0).random((3, 20, 20)).astype(np.float32)
    masks = np.zeros((3, 20, 20), dtype=bool)
    masks[0, 2:6, 2:6] = masks[1, 8:12, 8:12] = masks[1, 15:18, 2:9] = True
    maps[masks] += 0.4
    unseen = np.zeros_like(masks)
    unseen[:, :5] = True
    expected = literal_aupro(maps, masks, limit, unseen)
    assert aupro(np.where(unseen, np.nan, maps), masks, limit) == pytest.approx(expected, abs=1e-6)
    beyond = np.zeros_like(masks)
    beyond[0, :3, :3] = True
    assert aupro(np.where(unseen, np.nan, maps), beyond, limit) == pytest.approx(
        literal_aupro(maps, beyond, limit, unseen), abs=1e-6
    )
