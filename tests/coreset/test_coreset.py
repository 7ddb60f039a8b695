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
from patchcore_ops.coreset import lazy_distances
from patchcore_ops.coreset.greedy import exact_k_center_greedy, greedy_picks, k_center_greedy
from patchcore_ops.runtime import block_threads

Array = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Picks = npt.NDArray[np.int64]
ENGINES = {"numpy": np.asarray, "torch": torch.from_numpy}
SMALL = {
    (coreset, "POOL_SIZE"): 8,
    (coreset, "PICKS_BEFORE_POOLING"): 3,
    (lazy_distances, "CANDIDATES"): 3,
    (lazy_distances, "_CELLS"): 2,
    (lazy_distances, "_ROWS_PER_BLOCK"): 5,
    (lazy_distances, "_CANDIDATES_PER_BLOCK"): 2,
    (lazy_distances, "_PICKS_PER_BLOCK"): 4,
    (block_threads, "_ROWS_PER_PASS"): 7,
}
quick = settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)


@contextmanager
def small_sizes(factor: int = 1) -> Iterator[None]:
    """Make pools, candidates and blocks so small that little data takes every path."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in SMALL.items():
            patch.setattr(module, name, factor * value)
        yield


def distances_to(points: npt.NDArray[np.floating], row: int) -> npt.NDArray[np.floating]:
    return np.sqrt(((points - points[row]) ** 2).sum(axis=1))


def mean_distances(points: Array, starts: list[int]) -> Doubles:
    """Return what the approximate variant begins with: the mean distance to its starts."""
    exact = points.astype(np.float64)
    return np.mean([distances_to(exact, start) for start in starts], axis=0)


def norms_of_distances(points: Array) -> Doubles:
    """Return what the exact variant begins with: the norms of the rows of all distances."""
    exact = points.astype(np.float64)
    return np.array([np.linalg.norm(distances_to(exact, row)) for row in range(len(points))])


def literal_greedy(points: Array, initial: Doubles, count: int) -> Picks:
    """Pick by the definition: arg-max of the distances, then lower them, one pass per pick."""
    exact, distances = points.astype(np.float64), initial
    picks: list[int] = []
    for _ in range(count):
        picks.append(int(distances.argmax()))  # the lowest row among equals
        distances = np.minimum(distances, distances_to(exact, picks[-1]))
        distances[picks] = -1  # a picked row never returns
    return np.array(picks, dtype=np.int64)


def assert_greedy(points: Array, initial: Doubles, picks: Picks) -> None:
    """Replay picks in double precision: each must be the farthest row, but for rounding."""
    assert picks.dtype == np.int64
    assert len(set(picks.tolist())) == len(picks)
    exact, distances = points.astype(np.float64), initial.copy()
    # float32 rounds |a|^2 - 2ab + |b|^2 relative to the spread of the points.
    rounding = 1e-5 * ((exact - exact.mean(axis=0)) ** 2).sum(axis=1).max()
    for pick in picks:
        largest = max(distances.max(), 0.0)
        assert distances[pick] ** 2 >= largest**2 * (1 - 1e-5) - rounding
        distances = np.minimum(distances, distances_to(exact, pick))
        distances[pick] = -1


def normal(rng: np.random.Generator) -> Array:
    return rng.normal(size=(400, 12)).astype(np.float32)


def clustered(rng: np.random.Generator) -> Array:
    centres = rng.normal(scale=20, size=(8, 6))
    return (centres[rng.integers(8, size=400)] + rng.normal(size=(400, 6))).astype(np.float32)


def duplicated(rng: np.random.Generator) -> Array:
    return rng.normal(size=(60, 5)).astype(np.float32)[rng.integers(60, size=400)]


def on_a_curve(rng: np.random.Generator) -> Array:
    angle = np.sort(rng.uniform(0, 6, size=400))
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1).astype(np.float32)


def all_equal(_: np.random.Generator) -> Array:
    return np.full((400, 3), 2.5, dtype=np.float32)


def far_from_zero(rng: np.random.Generator) -> Array:
    return (rng.normal(size=(400, 32)) + 1000).astype(np.float32)


MAKERS = [normal, clustered, duplicated, on_a_curve, all_equal]
# Rounding far from zero makes most bounds useless: with small pools that takes long.
MADE = [(far_from_zero, False), *((make, small) for make in MAKERS for small in (False, True))]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "small"), MADE)
def test_picks_follow_the_definition(
    make: Callable[[np.random.Generator], Array], small: bool, engine: str
) -> None:
    points = make(np.random.default_rng(3))
    before, starts = points.copy(), [5, 17, 17, 99]
    initial, norms = mean_distances(points, starts), norms_of_distances(points)
    with small_sizes(2 if small else 1000):
        for count in (4, 100, 400) if engine == "numpy" else (100,):
            picks = k_center_greedy(ENGINES[engine](points), count, starts)
            assert len(picks) == count
            assert_greedy(points, initial, picks)
        picks = exact_k_center_greedy(ENGINES[engine](points), 200)
    assert len(picks) == 200
    assert_greedy(points, norms, picks)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("layout", ["numpy", "strided", "torch", "in place"])
def test_random_picks_are_the_literal_ones(layout: str) -> None:
    # The two largest distances are 3e-4 of the largest norm apart or more, float32 sums are off by
    # 2e-6 at most.
    points = np.random.default_rng(0).normal(size=(500, 24)).astype(np.float32)
    expected = literal_greedy(points, mean_distances(points, [1, 2, 3]), 60)
    given_points = {
        "numpy": points,
        "strided": np.repeat(points, 2, axis=1)[:, ::2],
        "torch": torch.from_numpy(points.copy()),
        "in place": torch.from_numpy(points.copy()),
    }[layout]
    picks = k_center_greedy(given_points, 60, [1, 2, 3], in_place=layout == "in place")
    np.testing.assert_array_equal(picks, expected)
    assert np.array_equal(given_points, points) == (layout != "in place")


@st.composite
def lattices(draw: st.DrawFn) -> Array:
    """Draw whole numbers times a power of two: duplicates, zeros and ties, exact in any format."""
    rows, dimension = draw(st.integers(1, 24)), draw(st.integers(1, 3))
    largest = draw(st.sampled_from([0, 1, 3]))
    numbers = st.integers(-largest, largest)
    values = draw(st.lists(numbers, min_size=rows * dimension, max_size=rows * dimension))
    points = np.array(values, dtype=np.float64).reshape(rows, dimension)
    return (points * 2.0 ** draw(st.integers(-40, 40))).astype(np.float32)


@st.composite
def clouds(draw: st.DrawFn) -> Array:
    """Draw points of mixed magnitudes, from tiny to huge, some of them twice."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, dimension = draw(st.integers(2, 40)), draw(st.integers(1, 6))
    # The exact variant sums the squares of all distances, which a float32 must hold.
    magnitude = 10.0 ** draw(st.integers(-18, 17))
    spread = 10.0 ** draw(st.integers(0, 3))
    points = rng.normal(size=(rows, dimension)) * magnitude
    points *= spread ** rng.uniform(-1, 0, size=(rows, 1))
    points[rng.random(rows) < draw(st.sampled_from([0.0, 0.3]))] = points[0]
    points[rng.random(rows) < draw(st.sampled_from([0.0, 0.2]))] = 0
    return points.astype(np.float32)


@quick
@given(points=lattices(), data=st.data())
def test_picks_on_a_lattice_are_the_literal_ones_and_fewer_a_prefix_of_more(
    points: Array, data: st.DataObject
) -> None:
    # With one start every distance is exact, so that ties are ties in any precision.
    start = data.draw(st.integers(0, len(points) - 1))
    fewer = data.draw(st.integers(0, len(points)))
    expected = literal_greedy(points, mean_distances(points, [start]), len(points))
    with small_sizes():
        np.testing.assert_array_equal(k_center_greedy(points, len(points), [start]), expected)
        picks = k_center_greedy(points, fewer, [start])
    assert picks.dtype == np.int64
    np.testing.assert_array_equal(picks, expected[:fewer])


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_ties_go_to_the_lowest_row_from_any_first_distances(seed: int, small: bool) -> None:
    rng = np.random.default_rng(seed)
    half = rng.integers(-3, 4, size=(int(rng.integers(3, 45)), 1 + seed % 4)).astype(np.float32)
    points = rng.permutation(np.concatenate([half, -half]))
    squares = rng.integers(0, 30, size=len(points)).astype(np.float32)
    expected = literal_greedy(points, np.sqrt(squares, dtype=np.float64), len(points))
    with small_sizes(2 if small else 1000):
        for of in ENGINES.values():
            picks = greedy_picks(of(points), of(squares), len(points))
            np.testing.assert_array_equal(picks, expected)


@quick
@given(points=clouds(), data=st.data())
def test_picks_in_a_cloud_are_farthest_but_for_rounding(points: Array, data: st.DataObject) -> None:
    starts = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=1, max_size=4))
    count = data.draw(st.integers(1, len(points)))
    unit = points.astype(np.float64) / max(float(np.abs(points).max()), 1e-300)
    with small_sizes():
        picks = k_center_greedy(points, count, starts)
        exact = exact_k_center_greedy(points, count)
    assert len(picks) == len(exact) == len(set(exact.tolist())) == count
    assert_greedy(unit, mean_distances(unit, starts), picks)
    norms = norms_of_distances(unit)
    assert norms[exact[0]] >= norms.max() * (1 - 1e-5)


def test_progress_rises_to_the_number_of_picks() -> None:
    seen: list[tuple[int, int]] = []
    with small_sizes():
        k_center_greedy(normal(np.random.default_rng(0)), 90, [0], lambda *step: seen.append(step))
    assert seen == sorted(seen)
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


def _radii(points: Array, starts: list[int], picks: Picks) -> Doubles:
    """Compute the distance that each pick had when it was picked."""
    initial = mean_distances(points, starts)[picks]
    chosen = points[picks].astype(np.float64)
    squares = (chosen**2).sum(axis=1)
    between = np.sqrt(np.maximum(squares[:, None] + squares - 2 * chosen @ chosen.T, 0))
    return np.array([min([initial[i], *between[i, :i]]) for i in range(len(picks))])
