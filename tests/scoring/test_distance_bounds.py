"""Lower bounds never exceed the distances, and their searches find all that they must."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from patchcore_ops.scoring.distance_bounds import (
    BoundedRows,
    PrincipalAxes,
    shortened,
    squared_norms,
)

Array = npt.NDArray[np.float32]


def vectors(count: int, seed: int, offset: float = 3.0) -> Array:
    """Draw vectors of 40 dimensions, most of whose variance lies in a few."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(5, 40))
    rows = rng.normal(size=(count, 5)) @ mixing + 0.3 * rng.normal(size=(count, 40))
    return (rows + offset).astype(np.float32)


def between(one: Array, other: Array) -> npt.NDArray[np.float64]:
    gaps = one[:, None].astype(np.float64) - other[None]
    return np.asarray((gaps**2).sum(axis=2))


@pytest.fixture(scope="module")
def bank() -> Array:
    return vectors(5000, seed=0)


@pytest.fixture(scope="module")
def queries() -> Array:
    return np.concatenate([vectors(60, seed=1), 4 * vectors(10, seed=2)])


@pytest.mark.parametrize("count", [1, 6, 40])
def test_bounds_never_exceed_the_distances(bank: Array, queries: Array, count: int) -> None:
    axes = PrincipalAxes(bank, count)
    reduced, asked = axes.reduce(bank), axes.reduce(queries)
    assert reduced.shape == (5000, count + 1)
    true = between(queries, bank)
    bounds = between(asked, reduced)
    assert (bounds <= true * (1 + 1e-4) + 1e-3).all()
    if count == 40:
        np.testing.assert_allclose(bounds, true, rtol=1e-2, atol=1e-2)


def test_shorter_vectors_keep_their_norm_and_bound_less(bank: Array, queries: Array) -> None:
    axes = PrincipalAxes(bank, 20)
    reduced, asked = axes.reduce(bank), axes.reduce(queries)
    short, short_asked = shortened(reduced, 4), shortened(asked, 4)
    assert short.shape == (5000, 5)
    np.testing.assert_array_equal(short[:, :4], reduced[:, :4])
    np.testing.assert_allclose(squared_norms(short), squared_norms(reduced), rtol=1e-5)
    assert (between(short_asked, short) <= between(asked, reduced) * (1 + 1e-4) + 1e-3).all()


def test_every_row_below_a_limit_is_found(bank: Array, queries: Array) -> None:
    axes = PrincipalAxes(bank, 6)
    reduced, asked = axes.reduce(bank), axes.reduce(queries)
    rows = BoundedRows(reduced)
    limits = np.quantile(between(queries, bank), 0.01, axis=1).astype(np.float32)
    asking = BoundedRows.asked(asked, limits)
    query_of, found = rows.below(asking)
    assert query_of.dtype == found.dtype == np.int64
    assert (np.diff(query_of) >= 0).all()
    bounds = between(asked, reduced)
    pairs = set(zip(query_of.tolist(), found.tolist(), strict=True))
    must = set(zip(*(part.tolist() for part in np.nonzero(bounds <= limits[:, None])), strict=True))
    assert must
    assert must <= pairs
    # Rounding may let a few more through, none that are clearly beyond.
    beyond = bounds[query_of, found] / limits[query_of]
    assert beyond.max() < 1.01


def test_pairs_are_judged_as_in_the_search(bank: Array, queries: Array) -> None:
    axes = PrincipalAxes(bank, 6)
    rows = BoundedRows(axes.reduce(bank))
    limits = np.quantile(between(queries, bank), 0.01, axis=1).astype(np.float32)
    asking = BoundedRows.asked(axes.reduce(queries), limits)
    query_of = np.repeat(np.arange(len(queries)), len(bank))
    every = np.tile(np.arange(len(bank)), len(queries))
    judged = rows.are_below(asking, query_of, every).reshape(len(queries), -1)
    bounds = between(axes.reduce(queries), axes.reduce(bank))
    clear = np.abs(bounds / limits[:, None] - 1) > 0.01
    np.testing.assert_array_equal(judged[clear], (bounds <= limits[:, None])[clear])


def test_nothing_is_found_without_a_limit_or_a_query(bank: Array, queries: Array) -> None:
    axes = PrincipalAxes(bank, 6)
    rows = BoundedRows(axes.reduce(bank))
    no_limit = np.full(len(queries), np.inf, dtype=np.float32)
    asking = BoundedRows.asked(axes.reduce(queries), no_limit)
    for asked in (asking, asking[:0]):
        query_of, found = rows.below(asked)
        assert len(query_of) == len(found) == 0
        assert found.dtype == np.int64


def test_a_sample_estimates_how_many_are_below(bank: Array, queries: Array) -> None:
    axes = PrincipalAxes(bank, 6)
    reduced, asked = axes.reduce(bank), axes.reduce(queries)
    rows = BoundedRows(reduced)
    limits = np.quantile(between(queries, bank), 0.3, axis=1).astype(np.float32)
    expected = (between(asked, reduced) <= limits[:, None]).sum(axis=1)
    asking = BoundedRows.asked(asked, limits)
    np.testing.assert_allclose(rows.count_below(asking, 10**6), expected, rtol=0.01)
    sampled = rows.count_below(asking, 500)
    assert (np.abs(sampled - expected) < 6 * np.sqrt(expected.clip(1) * 10)).all()
