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


def vectors(count: int, seed: int) -> Array:
    """Draw vectors of 40 dimensions, most of whose variance lies in a few."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(5, 40))
    rows = rng.normal(size=(count, 5)) @ mixing + 0.3 * rng.normal(size=(count, 40))
    return (rows + 3).astype(np.float32)


def between(one: Array, other: Array) -> npt.NDArray[np.float64]:
    gaps = one[:, None].astype(np.float64) - other[None]
    return np.asarray((gaps**2).sum(axis=2))


BANK = vectors(2000, seed=0)
QUERIES = np.concatenate([vectors(40, seed=1), 4 * vectors(10, seed=2)])


@pytest.mark.parametrize("count", [1, 6, 20, 40])
def test_bounds_never_exceed_the_distances(count: int) -> None:
    axes = PrincipalAxes(BANK, count)
    reduced, asked = axes.reduce(BANK), axes.reduce(QUERIES)
    true, bounds = between(QUERIES, BANK), between(asked, reduced)
    assert (bounds <= true * (1 + 1e-4) + 1e-3).all()
    if count == 40:
        np.testing.assert_allclose(bounds, true, rtol=1e-2, atol=1e-2)
    if count > 4:
        short, short_asked = shortened(reduced, 4), shortened(asked, 4)
        assert short.shape == (2000, 5)
        np.testing.assert_allclose(squared_norms(short), squared_norms(reduced), rtol=1e-5)
        assert (between(short_asked, short) <= bounds * (1 + 1e-4) + 1e-3).all()


def test_every_row_below_a_limit_is_found_and_none_clearly_beyond() -> None:
    axes = PrincipalAxes(BANK, 6)
    reduced, asked = axes.reduce(BANK), axes.reduce(QUERIES)
    rows, bounds = BoundedRows(reduced), between(asked, reduced)
    limits = np.quantile(between(QUERIES, BANK), 0.05, axis=1).astype(np.float32)
    asking = BoundedRows.asked(asked, limits)
    query_of, found = rows.below(asking)
    assert (np.diff(query_of) >= 0).all()
    is_found = np.zeros(bounds.shape, dtype=bool)
    is_found[query_of, found] = True
    every_query, every_row = (part.ravel() for part in np.indices(bounds.shape))
    judged = rows.are_below(asking, every_query, every_row).reshape(bounds.shape)
    relative = bounds / limits[:, None]
    assert is_found[relative <= 1].all()
    assert not is_found[relative > 1.01].any()
    clear = np.abs(relative - 1) > 0.01
    np.testing.assert_array_equal(judged[clear], (relative <= 1)[clear])
    np.testing.assert_allclose(rows.count_below(asking, 10**6), is_found.sum(axis=1), rtol=0.01)
    no_limit = BoundedRows.asked(asked, np.full(len(QUERIES), np.inf, dtype=np.float32))
    for nothing in (no_limit, no_limit[:0]):
        assert [len(part) for part in rows.below(nothing)] == [0, 0]
