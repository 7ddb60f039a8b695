"""Scores, anomaly maps and ensembles against literal per-image computations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter

from patchcore_ops.config.sections import ScoringSection
from patchcore_ops.scoring import maps as scoring
from patchcore_ops.scoring.maps import (
    anomaly_maps,
    combine,
    ensemble_maps,
    extent,
    image_scores,
    map_extents,
    patch_scores,
)

Array = npt.NDArray[np.float32]


def random_scores(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).gamma(2.0, 3.0, size=shape).astype(np.float32)


def literal_map(scores: Array, imagesize: int | tuple[int, int], sigma: float) -> Array:
    """Make the map of one image by the definition, in double precision."""
    grid = torch.from_numpy(scores).double()[None, None]
    size = (imagesize, imagesize) if isinstance(imagesize, int) else imagesize
    resized = F.interpolate(grid, size, mode="bilinear", align_corners=False)
    return np.asarray(gaussian_filter(resized[0, 0].numpy(), sigma=sigma))


def combined(members: list[Array]) -> Array:
    return combine(members, [extent(scores) for scores in members])


def maps_of(members: list[Array], side: int, sigma: float) -> Array:
    ranges = map_extents(members, side, sigma)
    return np.concatenate(list(ensemble_maps(members, side, sigma, ranges)))


def literal_scaled(members: list[Array]) -> Array:
    scaled = []
    for values in members:
        low, high = values.min(), values.max()
        scaled.append(np.zeros_like(values) if low == high else (values - low) / (high - low))
    return np.asarray(sum(scaled) / len(scaled))


@pytest.mark.parametrize("neighbours", [1, 3])
def test_patch_score_is_the_mean_over_the_neighbours_image_score_the_largest(
    neighbours: int,
) -> None:
    distances = random_scores(2 * 3 * 4, neighbours)
    scores = patch_scores(distances, 2, (3, 4))
    assert scores.shape == (2, 3, 4)
    for image, row, column in np.ndindex(scores.shape):
        mean = sum(distances[image * 12 + row * 4 + column].tolist()) / neighbours
        assert scores[image, row, column] == pytest.approx(mean, rel=1e-6)
    assert image_scores(scores).tolist() == [max(image.ravel().tolist()) for image in scores]


@pytest.mark.parametrize("sigma", [4.0, 0.0, 1.5, 20.0])
@pytest.mark.parametrize("imagesize", [24, 31, 224, (40, 24)])
@pytest.mark.parametrize("grid", [(24, 24), (28, 28), (37, 20), (1, 1), (1, 5), (50, 3)])
def test_maps_equal_the_definition(
    grid: tuple[int, int], imagesize: int | tuple[int, int], sigma: float
) -> None:
    scores = random_scores(2, *grid)
    maps = anomaly_maps(scores, imagesize, *([] if sigma == 4.0 else [sigma]))
    assert maps.dtype == np.float32
    expected = [literal_map(image, imagesize, sigma) for image in scores]
    np.testing.assert_allclose(maps, expected, rtol=1e-6)


def test_maps_of_doubles_and_of_strided_scores() -> None:
    scores = random_scores(2, 6, 6)
    expected = anomaly_maps(scores, 24)
    np.testing.assert_array_equal(anomaly_maps(scores.astype(np.float64), 24), expected)
    strided = np.repeat(scores, 2, axis=2)[..., ::2]
    np.testing.assert_array_equal(anomaly_maps(strided, 24), expected)


def test_one_member_stays_as_it_is() -> None:
    scores, maps = random_scores(5), random_scores(5, 4, 4)
    np.testing.assert_array_equal(combined([scores]), scores)
    together = maps_of([maps], 32, 4.0)
    np.testing.assert_array_equal(together, anomaly_maps(maps, 32, 4.0))


def test_members_are_scaled_over_all_images_and_averaged() -> None:
    members = [random_scores(9, seed=seed) * 10**seed for seed in range(3)]
    np.testing.assert_allclose(combined(members), literal_scaled(members), rtol=1e-5)
    members = [random_scores(5, 4, 4), 100 + random_scores(5, 7, 7, seed=1)]
    maps = maps_of(members, 32, 2.0)
    literal = [np.stack([literal_map(image, 32, 2.0) for image in scores]) for scores in members]
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, literal_scaled(literal), rtol=1e-4, atol=1e-5)


def test_constant_members_contribute_nothing_and_never_nan() -> None:
    varied, constant = random_scores(4), np.full(4, 3.0, dtype=np.float32)
    half = literal_scaled([varied]) / 2
    np.testing.assert_allclose(combined([varied, constant]), half, rtol=1e-5)
    flat = np.full((4, 3, 3), 3.0, dtype=np.float32)
    maps = maps_of([flat, flat], 16, 0.0)
    np.testing.assert_array_equal(maps, np.zeros((4, 16, 16)))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("images_per_block", [1, 2, 7, 100])
def test_blocks_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, count: int, images_per_block: int
) -> None:
    members = [random_scores(7, 4, 4, seed=seed) for seed in range(count)]
    expected = maps_of(members, 32, 4.0)
    monkeypatch.setattr(scoring, "_IMAGES_PER_BLOCK", images_per_block)
    blocks = list(ensemble_maps(members, 32, 4.0, map_extents(members, 32, 4.0)))
    assert max(len(block) for block in blocks) == min(images_per_block, 7)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_threads_and_neighbours_in_a_block_change_no_bit(
    monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    scores = random_scores(9, 28, 28)
    one_by_one = np.concatenate([anomaly_maps(scores[i : i + 1], 224) for i in range(9)])
    np.testing.assert_array_equal(anomaly_maps(scores, 224), one_by_one)


def test_roots_are_averaged_where_distances_are_asked_for() -> None:
    distances = np.array([[1.0, 9.0], [-1e-9, 4.0]], dtype=np.float32)
    found = patch_scores(distances, 1, (1, 2), "root")
    np.testing.assert_allclose(found, [[[2.0, 1.0]]])


def test_an_image_s_score_is_the_greatest_value_of_its_smoothed_map() -> None:
    scores = np.random.default_rng(4).random((40, 5, 6)).astype(np.float32)
    rule = ScoringSection(image_score="smoothed_max", image_smoothing_sigma=3.0)
    found = image_scores(scores, rule, 30)
    for patches, score in zip(scores, found, strict=True):
        enlarged = Image.fromarray(patches).resize((30, 30), Image.Resampling.BILINEAR)
        expected = gaussian_filter(np.asarray(enlarged), 3.0).max()
        assert score == pytest.approx(expected, rel=1e-5)
    assert image_scores(scores[:0], rule, 30).shape == (0,)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.2, 6), (1.0, 30)])
def test_an_image_s_score_is_the_mean_of_its_greatest_patches(share: float, count: int) -> None:
    scores = np.random.default_rng(4).random((3, 5, 6)).astype(np.float32)
    found = image_scores(scores, ScoringSection(image_score="top_share", image_top_share=share))
    expected = [np.mean(sorted(patches.ravel())[-count:]) for patches in scores]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_maps_that_say_nothing_are_nothing_inside_and_stay_nan_in_the_padding() -> None:
    blank = np.array([[[np.nan, 2.0, 2.0]]], dtype=np.float32)
    found = combine([blank, blank], [(2.0, 2.0), (2.0, 2.0)])
    np.testing.assert_array_equal(found, [[[np.nan, 0.0, 0.0]]])
