"""Greedy k-center selection against the literal loop; every code path runs on small data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchcore_ops.coreset import greedy as coreset
from patchcore_ops.coreset import lazy_distances as anchors
from patchcore_ops.coreset.greedy import exact_k_center_greedy, greedy_picks, k_center_greedy
from patchcore_ops.runtime import block_threads

Array = npt.NDArray[np.float32]
Picks = npt.NDArray[np.int64]
Make = Callable[[np.random.Generator], Array]


def distances_to(points: npt.NDArray[np.floating], row: int) -> npt.NDArray[np.floating]:
    return np.sqrt(((points - points[row]) ** 2).sum(axis=1))


def literal_greedy(
    points: Array, anchors: npt.NDArray[np.floating], num_samples: int, dtype: type = np.float64
) -> Picks:
    """Pick by the definition: arg-max of the anchors, then lower them, one pass per pick."""
    points, anchors = points.astype(dtype), anchors.astype(dtype)
    picks = []
    for _ in range(num_samples):
        pick = int(anchors.argmax())  # the lowest row among equals
        picks.append(pick)
        anchors = np.minimum(anchors, distances_to(points, pick))
        anchors[pick] = -1  # a picked row never returns
    return np.array(picks, dtype=np.int64)


def mean_distances(points: Array, starts: list[int]) -> npt.NDArray[np.float64]:
    exact = points.astype(np.float64)
    return np.mean([distances_to(exact, start) for start in starts], axis=0)


def assert_greedy(points: Array, anchors: npt.NDArray[np.float64], picks: Picks) -> None:
    """Replay picks in double precision: each must have the largest anchor, but for rounding."""
    assert picks.dtype == np.int64
    assert len(set(picks.tolist())) == len(picks)
    exact = points.astype(np.float64)
    anchors = anchors.copy()
    # float32 rounds |a|^2 - 2ab + |b|^2 relative to the spread of the points.
    rounding = 1e-5 * ((exact - exact.mean(axis=0)) ** 2).sum(axis=1).max()
    for pick in picks:
        largest = max(anchors.max(), 0.0)
        assert anchors[pick] ** 2 >= largest**2 * (1 - 1e-5) - rounding
        anchors = np.minimum(anchors, distances_to(exact, pick))
        anchors[pick] = -1


@contextmanager
def small_sizes() -> Iterator[None]:
    """Make pools, leaders and blocks so small that little data takes every path."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (coreset, "POOL_SIZE", 16),
            (coreset, "PICKS_BEFORE_POOLING", 4),
            (anchors, "LEADERS", 4),
            (anchors, "_CELLS", 3),
            (anchors, "_ROWS_PER_BLOCK", 7),
            (anchors, "_LEADERS_PER_BLOCK", 2),
            (anchors, "_PICKS_PER_BLOCK", 5),
            (block_threads, "_ROWS_PER_PASS", 11),
        ):
            patch.setattr(module, name, value)
        yield


@pytest.fixture(params=["small", "default"])
def sizes(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "default":
        yield "default"
        return
    with small_sizes():
        yield "small"


def normal(rng: np.random.Generator) -> Array:
    return rng.normal(size=(600, 12)).astype(np.float32)


def clustered(rng: np.random.Generator) -> Array:
    centres = rng.normal(scale=20, size=(8, 6))
    return (centres[rng.integers(8, size=600)] + rng.normal(size=(600, 6))).astype(np.float32)


def duplicated(rng: np.random.Generator) -> Array:
    return rng.normal(size=(60, 5)).astype(np.float32)[rng.integers(60, size=600)]


def on_a_curve(rng: np.random.Generator) -> Array:
    angle = np.sort(rng.uniform(0, 6, size=600))
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1).astype(np.float32)


def all_equal(_: np.random.Generator) -> Array:
    return np.full((600, 3), 2.5, dtype=np.float32)


@pytest.mark.parametrize("share", [0.01, 0.25, 1.0])
@pytest.mark.parametrize("make", [normal, clustered, duplicated, on_a_curve, all_equal])
@pytest.mark.usefixtures("sizes")
def test_picks_follow_the_definition(make: Make, share: float) -> None:
    points = make(np.random.default_rng(3))
    starts = [5, 17, 17, 99]
    picks = k_center_greedy(points, int(len(points) * share), starts)
    assert len(picks) == int(600 * share)
    assert_greedy(points, mean_distances(points, starts), picks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("sizes")
def test_random_picks_equal_the_literal_loop(dtype: type) -> None:
    points = np.random.default_rng(0).normal(size=(500, 24)).astype(np.float32)
    starts = [1, 2, 3]
    # The two largest anchors are 3e-4 of the largest norm apart or more, float32 sums are off by
    # 2e-6 at most.
    expected = literal_greedy(points, mean_distances(points, starts), 60, dtype)
    np.testing.assert_array_equal(k_center_greedy(points, 60, starts), expected)


def integer_grid(rng: np.random.Generator, rows: int, dimension: int, mean_zero: bool) -> Array:
    """Draw points from a small integer grid, so that most distances tie and all are exact."""
    points = rng.integers(-3, 4, size=(rows, dimension)).astype(np.float32)
    if mean_zero:
        points = np.concatenate([points, -points])[rng.permutation(2 * rows)]
    return points


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("sizes")
def test_ties_go_to_the_lowest_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = integer_grid(rng, int(rng.integers(3, 90)), 1 + seed % 4, mean_zero=True)
    squared_anchors = rng.integers(0, 30, size=len(points)).astype(np.float32)
    count = len(points) if seed % 3 else int(rng.integers(1, len(points)))
    expected = literal_greedy(points, np.sqrt(squared_anchors, dtype=np.float64), count)
    np.testing.assert_array_equal(greedy_picks(points, squared_anchors, count), expected)
    by_torch = greedy_picks(torch.from_numpy(points), torch.from_numpy(squared_anchors), count)
    np.testing.assert_array_equal(by_torch, expected)


@pytest.mark.parametrize("seed", range(6))
def test_ties_on_a_line_go_to_the_lowest_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = integer_grid(rng, 60, 1, mean_zero=True)
    start = int(rng.integers(len(points)))
    expected = literal_greedy(points, mean_distances(points, [start]), len(points), np.float32)
    with small_sizes():
        picks = k_center_greedy(points, len(points), [start])
    np.testing.assert_array_equal(picks, expected)


def test_ties_go_to_the_lowest_row_wherever_the_mean_is() -> None:
    for seed in range(20):
        points = integer_grid(np.random.default_rng(seed), 50, 2, mean_zero=False)
        expected = literal_greedy(points, mean_distances(points, [0]), 50)
        np.testing.assert_array_equal(k_center_greedy(points, 50, [0]), expected)


def test_a_common_offset_does_not_matter() -> None:
    points = np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32) + 1000
    starts = [1, 2, 3]
    assert_greedy(points, mean_distances(points, starts), k_center_greedy(points, 200, starts))


@pytest.mark.usefixtures("sizes")
def test_exact_variant_starts_from_the_norms_of_the_distance_matrix() -> None:
    for make in (normal, clustered, duplicated):
        points = make(np.random.default_rng(1))
        exact = points.astype(np.float64)
        matrix = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=2))
        anchors = np.linalg.norm(matrix, axis=1)
        assert_greedy(points, anchors, exact_k_center_greedy(points, 300))


def test_exact_variant_equals_the_literal_loop() -> None:
    points = np.random.default_rng(4).normal(size=(300, 16)).astype(np.float32)
    exact = points.astype(np.float64)
    matrix = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=2))
    expected = literal_greedy(points, np.linalg.norm(matrix, axis=1), 40)
    np.testing.assert_array_equal(exact_k_center_greedy(points, 40), expected)


grids = st.builds(
    integer_grid,
    rng=st.integers(0, 2**32).map(np.random.default_rng),
    rows=st.integers(2, 40),
    dimension=st.integers(1, 3),
    mean_zero=st.just(True),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(points=grids, data=st.data())
def test_fewer_picks_are_a_prefix_of_more(points: Array, data: st.DataObject) -> None:
    rows = st.integers(0, len(points) - 1)
    starts = data.draw(st.lists(rows, min_size=1, max_size=3))
    more = data.draw(st.integers(1, len(points)))
    fewer = data.draw(st.integers(0, more))
    with small_sizes():
        picks = k_center_greedy(points, more, starts)
        prefix = k_center_greedy(points, fewer, starts)
    assert len(picks) == more
    assert len(set(picks.tolist())) == more
    assert set(picks.tolist()) <= set(range(len(points)))
    np.testing.assert_array_equal(prefix, picks[:fewer])


@pytest.mark.parametrize("make", [normal, clustered, duplicated, on_a_curve, all_equal])
@pytest.mark.usefixtures("sizes")
def test_torch_follows_the_definition(make: Make) -> None:
    points = make(np.random.default_rng(3))
    starts = [5, 17, 17, 99]
    picks = k_center_greedy(torch.from_numpy(points), 400, starts)
    assert_greedy(points, mean_distances(points, starts), picks)
    exact = points.astype(np.float64)
    matrix = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=2))
    picks = exact_k_center_greedy(torch.from_numpy(points), 400)
    assert_greedy(points, np.linalg.norm(matrix, axis=1), picks)


@pytest.mark.parametrize("in_place", [False, True])
def test_torch_and_numpy_pick_the_same_rows(in_place: bool) -> None:
    points = np.random.default_rng(0).normal(size=(500, 24)).astype(np.float32)
    picks = k_center_greedy(points, 60, [0])
    tensor = torch.from_numpy(points.copy())
    np.testing.assert_array_equal(k_center_greedy(tensor, 60, [0], in_place=in_place), picks)
    assert torch.equal(tensor, torch.from_numpy(points)) != in_place
    strided = np.repeat(points, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(k_center_greedy(strided, 60, [0]), picks)


def test_points_are_left_as_they_were() -> None:
    points = normal(np.random.default_rng(0))
    before = points.copy()
    k_center_greedy(points, 50, [0])
    exact_k_center_greedy(points, 50)
    np.testing.assert_array_equal(points, before)


def test_progress_rises_to_the_number_of_picks() -> None:
    seen: list[tuple[int, int]] = []
    with small_sizes():
        k_center_greedy(normal(np.random.default_rng(0)), 90, [0], lambda *step: seen.append(step))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (90, 90)
    assert {total for _, total in seen} == {90}


@pytest.mark.parametrize("count", [-1, 7])
def test_more_picks_than_rows_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot pick {count} of 6 rows"):
        k_center_greedy(np.eye(6, dtype=np.float32), count, [0])


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(value: float) -> None:
    points = np.eye(6, dtype=np.float32)
    points[3, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        k_center_greedy(points, 3, [0])


@pytest.mark.reference
def test_picks_are_the_references(reference_data: Path) -> None:
    golden = np.load(reference_data / "golden" / "coreset_bottle20.npz")
    points, starts, expected = golden["reduced"], golden["start"].tolist(), golden["picks"]
    picks = k_center_greedy(points, len(expected), starts)
    assert set(picks.tolist()) == set(expected.tolist())
    differing = np.flatnonzero(picks != expected)
    ours = _radii(points, starts, picks)[differing]
    theirs = _radii(points, starts, expected)[differing]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert len(differing) < 0.05 * len(picks)


def _radii(points: Array, starts: list[int], picks: Picks) -> npt.NDArray[np.float64]:
    """Compute the anchor distance that each pick had when it was picked."""
    initial = mean_distances(points, starts)[picks]
    chosen = points[picks].astype(np.float64)
    squares = (chosen**2).sum(axis=1)
    between = np.sqrt(np.maximum(squares[:, None] + squares - 2 * chosen @ chosen.T, 0))
    return np.array([min([initial[i], *between[i, :i]]) for i in range(len(picks))])
