"""Greedy k-center selection on anything small: the literal loop's picks, never NaN, never twice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchcore_ops.coreset import greedy as coreset
from patchcore_ops.coreset import lazy_distances as anchors
from patchcore_ops.coreset.greedy import exact_k_center_greedy, k_center_greedy
from patchcore_ops.runtime import block_threads

Array = npt.NDArray[np.float32]


def literal_greedy(points: Array, starts: list[int], count: int) -> list[int]:
    """Pick by the definition, in double precision: the lowest row among the farthest ones."""
    rows = points.astype(np.float64)
    anchors = np.mean([np.linalg.norm(rows - rows[start], axis=1) for start in starts], axis=0)
    picks: list[int] = []
    for _ in range(count):
        pick = int(anchors.argmax())
        picks.append(pick)
        anchors = np.minimum(anchors, np.linalg.norm(rows - rows[pick], axis=1))
        anchors[picks] = -1
    return picks


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


@pytest.fixture(autouse=True, scope="module")
def small_sizes() -> object:
    """Make pools and blocks so small that small inputs take every path."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (coreset, "POOL_SIZE", 8),
            (coreset, "PICKS_BEFORE_POOLING", 3),
            (anchors, "LEADERS", 3),
            (anchors, "_CELLS", 2),
            (anchors, "_ROWS_PER_BLOCK", 5),
            (anchors, "_LEADERS_PER_BLOCK", 2),
            (anchors, "_PICKS_PER_BLOCK", 4),
            (block_threads, "_ROWS_PER_PASS", 7),
        ):
            patch.setattr(module, name, value)
        yield


quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(points=lattices(), data=st.data())
def test_picks_on_a_lattice_are_exactly_the_literal_ones(
    points: Array, data: st.DataObject
) -> None:
    # With one start every anchor is a distance, so that ties are ties in any precision.
    start = data.draw(st.integers(0, len(points) - 1))
    count = data.draw(st.integers(0, len(points)))
    picks = k_center_greedy(points, count, [start])
    assert picks.dtype == np.int64
    assert picks.tolist() == literal_greedy(points, [start], count)


@quick
@given(points=clouds(), data=st.data())
def test_picks_in_a_cloud_are_farthest_but_for_rounding(points: Array, data: st.DataObject) -> None:
    starts = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=1, max_size=4))
    count = data.draw(st.integers(1, len(points)))
    picks = k_center_greedy(points, count, starts).tolist()
    assert len(picks) == len(set(picks)) == count
    assert all(0 <= pick < len(points) for pick in picks)
    rows = points.astype(np.float64)
    rows /= max(np.abs(rows).max(), 1e-300)
    anchors = np.mean([np.linalg.norm(rows - rows[start], axis=1) for start in starts], axis=0)
    rounding = 1e-5 * ((rows - rows[0]) ** 2).sum(axis=1).max()
    for pick in picks:
        assert anchors[pick] ** 2 >= max(anchors.max(), 0) ** 2 * (1 - 1e-5) - rounding
        anchors = np.minimum(anchors, np.linalg.norm(rows - rows[pick], axis=1))
        anchors[pick] = -1


@quick
@given(points=clouds() | lattices(), data=st.data())
def test_the_exact_variant_picks_every_row_once(points: Array, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(points)))
    picks = exact_k_center_greedy(points, count).tolist()
    assert len(picks) == len(set(picks)) == count
    if count:
        # The first pick is the row whose distances to all rows are the largest.
        rows = points.astype(np.float64) / max(float(np.abs(points).max()), 1e-300)
        squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=(1, 2))
        assert squares[picks[0]] >= squares.max() * (1 - 1e-5)


@settings(deadline=None, max_examples=60)
@given(points=lattices(), data=st.data(), exponent=st.integers(-30, 30))
def test_scale_does_not_matter(points: Array, data: st.DataObject, exponent: int) -> None:
    start = data.draw(st.integers(0, len(points) - 1))
    largest = float(np.abs(points).max()) or 1.0
    unit = (points / largest).astype(np.float32)
    scaled = (unit * np.float32(2.0**exponent)).astype(np.float32)
    expected = k_center_greedy(unit, len(points), [start])
    np.testing.assert_array_equal(k_center_greedy(scaled, len(points), [start]), expected)
