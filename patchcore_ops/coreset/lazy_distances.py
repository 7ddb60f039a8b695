"""The anchor distances of a greedy selection, brought up to date only where it can matter.

An anchor that has not seen the latest picks is an upper bound, for anchors only fall. Of two rows
only the one with the larger anchor can be the next pick, so a row is done with, for now, as soon as
anything shows that its anchor is below the limit: the largest one among the rows that nobody looks
at. Mostly that is a pick nearby. The first picks divide the rows into cells, by which of them is
nearest, and a row is compared with the picks of its own cell before it is compared with all.

Distances are kept squared, which has the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.coreset.candidates import PICKED, Limit, leading, pick_among
from patchcore_ops.runtime.array_namespace import Array, namespace_of, to_numpy
from patchcore_ops.runtime.block_threads import ForEach, blocks, by_parts

LEADERS = 1024
# More make a row's nearest pick more often another cell's, fewer have more picks to compare with.
_CELLS = 16
_ROWS_PER_BLOCK = 2048
_PICKS_PER_BLOCK = 512
_LEADERS_PER_BLOCK = 256
# Rows that have dropped out are computed along until so many have that moving the others pays.
_WORTH_KEEPING = 0.8


@dataclass
class _Group:
    """Some rows, gathered side by side: their numbers, coordinates, norms and squared anchors."""

    rows: Array
    points: Array
    norms: Array
    squared: Array

    def where(self, kept: Array | slice) -> _Group:
        """Keep some of the rows."""
        return _Group(self.rows[kept], self.points[kept], self.norms[kept], self.squared[kept])


class _Picks(NamedTuple):
    """Some picks: their numbers, coordinates times -2, as distances take them, and norms."""

    rows: Array
    doubled: Array
    norms: Array

    def where(self, kept: Array | slice) -> _Picks:
        """Keep some of the picks."""
        return _Picks(self.rows[kept], self.doubled[kept], self.norms[kept])


class Anchors:
    """The rows, their squared anchor distances, and how many picks each of these has seen.

    Parameters
    ----------
    rows : array of float32, shape [N, d]
        Of numpy or torch; what is computed stays on its device. Not far from the origin, for the
        sake of rounding.
    squared : array of float32, shape [N]
        Square of each row's initial anchor distance.
    capacity : int
        How many rows will be picked at most.
    for_each : callable
        Computes blocks of rows, see `block_threads`.

    Attributes
    ----------
    squared : array of float32, shape [N]
        At least the square of each row's anchor distance.
    pick_count : int
    """

    def __init__(self, rows: Array, squared: Array, capacity: int, for_each: ForEach) -> None:
        self._xp = xp = namespace_of(rows)
        self._on: dict[str, Any] = {"device": rows.device}
        self._floats: dict[str, Any] = {"dtype": xp.float32, **self._on}
        self._for_each = for_each
        self._rows = rows
        self._norms = by_parts(rows, rows.dtype, _squared_norms, for_each)
        self.squared = xp.asarray(squared, copy=True)
        self.pick_count = 0
        # A row has seen all of the first picks, up to a number, and some of the others.
        self._seen = xp.zeros(len(rows), dtype=xp.int64, **self._on)
        self._cells: Array = None
        self._picks = _Picks(
            xp.empty(capacity, dtype=xp.int64, **self._on),
            xp.empty((capacity, rows.shape[1]), **self._floats),
            xp.empty(capacity, **self._floats),
        )

    @property
    def picks(self) -> npt.NDArray[np.int64]:
        """The picked rows so far, in order."""
        return to_numpy(self._picks.rows[: self.pick_count])

    def refresh(self, pool: Array, limit: Limit) -> Array:
        """Lower the anchors of the pool's rows by the picks that they have not seen.

        A row is left alone as soon as its anchor falls below the limit: the next pick will not be
        it, whatever the picks that it has still not seen.

        Parameters
        ----------
        pool : array of int64
            Ascending row numbers.
        limit : Limit
            Of the rows outside the pool.

        Returns
        -------
        array of int64
            The pool's rows whose anchors are up to date and not below the limit, ascending.
        """
        outdated = pool[self._seen[pool] < self.pick_count]
        if len(outdated):
            self._compare_within_cells(outdated)
            outdated = outdated[self.squared[outdated] >= limit.squared]
        order = self._xp.argsort(self._seen[outdated], stable=True)
        self._for_each(
            lambda block: self._refresh_block(outdated[order[block]], limit),
            blocks(len(order), _ROWS_PER_BLOCK),
        )
        is_ready = (self._seen[pool] == self.pick_count) & (self.squared[pool] >= limit.squared)
        return pool[is_ready]

    def _compare_within_cells(self, rows: Array) -> None:
        """Lower rows' anchors by the picks of their own cells, whether they have seen these or not.

        That makes the anchors lower upper bounds; up to which pick a row has seen all stays.
        """
        if self._cells is None:
            self._cells = self._divide()
        order, row_ends = self._by_cell(rows)
        group = self._gather(rows[order])
        order, pick_ends = self._by_cell(self._picks.rows[: self.pick_count])
        picks = self._picks.where(order)
        self._for_each(
            lambda pair: self._lower(group, picks.where(pair[1]), pair[0]),
            [
                (block, slice(first_pick, last_pick))
                for (first_row, last_row), (first_pick, last_pick) in zip(
                    pairwise([0, *row_ends]), pairwise([0, *pick_ends]), strict=True
                )
                for block in blocks(last_row, _ROWS_PER_BLOCK, first_row)
            ],
        )
        self.squared[group.rows] = group.squared

    def _refresh_block(self, rows: Array, limit: Limit) -> None:
        """Refresh rows that have seen about as many picks, until they fall below the limit."""
        first = int(self._seen[rows].min())
        group = self._gather(rows)
        while first < self.pick_count and len(group.rows):
            last = min(first + _PICKS_PER_BLOCK, self.pick_count)
            self._lower(group, self._picks.where(slice(first, last)))
            alive = group.squared >= limit.squared
            if last == self.pick_count or int(alive.sum()) < _WORTH_KEEPING * len(alive):
                self.squared[group.rows] = group.squared
                self._seen[group.rows] = self._seen[group.rows].clip(min=last)
                group = group.where(alive)
            first = last

    def pick_inside(self, pool: Array, limit: Limit, wanted: int) -> None:
        """Pick from an up-to-date pool while its largest anchor comes before the limit outside.

        Parameters
        ----------
        pool : array of int64
            Ascending row numbers.
        limit : Limit
            Of the rows outside the pool.
        wanted : int
            How many picks, at most.
        """
        group = _Group(pool, self._rows, self._norms, self.squared)
        if len(pool) < len(self._rows):  # A copy of all rows would be one too many.
            group = self._gather(pool)
        stop = self.pick_count + wanted
        while self.pick_count < stop and len(pool):
            leaders, inner = leading(group.squared, LEADERS)
            inner = Limit(inner.squared, int(pool[inner.row]))
            rows = pool[leaders]
            chosen = pick_among(
                to_numpy(self._distances_between(group.points[leaders], group.norms[leaders])),
                to_numpy(group.squared[leaders]),
                to_numpy(rows),
                max(inner, limit, key=lambda bound: (bound.squared, -bound.row)),
                stop - self.pick_count,
            )
            if not chosen:
                break
            positions = self._xp.asarray(chosen, **self._on)
            picks = self._append(rows[positions])
            self._for_each(partial(self._lower, group, picks), blocks(len(pool), _ROWS_PER_BLOCK))
            group.squared[leaders[positions]] = PICKED
        if group.squared is not self.squared:
            self.squared[pool] = group.squared
        self._seen[pool] = self.pick_count

    def _append(self, rows: Array) -> _Picks:
        added = slice(self.pick_count, self.pick_count + len(rows))
        self._picks.rows[added] = rows
        self._picks.doubled[added] = -2 * self._rows[rows]
        self._picks.norms[added] = self._norms[rows]
        self.pick_count = added.stop
        return self._picks.where(added)

    def _gather(self, rows: Array) -> _Group:
        return _Group(rows, self._rows[rows], self._norms[rows], self.squared[rows])

    def _divide(self) -> Array:
        """Tell for each row which of the first picks is nearest, uint8 of shape [N]."""
        _, doubled, norms = self._picks.where(slice(0, min(_CELLS, self.pick_count)))
        return by_parts(
            self._rows,
            self._xp.uint8,
            lambda part: (part @ doubled.T + norms).argmin(axis=1),
            self._for_each,
        )

    def _by_cell(self, rows: Array) -> tuple[Array, list[int]]:
        """Sort rows by their cells: the order, and up to where in it each cell reaches."""
        cells = self._cells[rows]
        ends = self._xp.bincount(cells, minlength=_CELLS).cumsum(axis=0)
        return self._xp.argsort(cells, stable=True), ends.tolist()

    def _lower(self, group: _Group, picks: _Picks, block: slice = slice(None)) -> None:
        """Lower the anchors of a block of a group, in place, to the distances to some picks."""
        xp = self._xp
        group = group.where(block)
        nearest = xp.full((len(group.rows),), xp.inf, **self._floats)
        # One place for all products, which would fault in fresh memory each.
        scratch = xp.empty(len(nearest) * min(len(picks.rows), _PICKS_PER_BLOCK), **self._floats)
        for some in map(picks.where, blocks(len(picks.rows), _PICKS_PER_BLOCK)):
            products = scratch[: len(some.rows) * len(nearest)].reshape(len(some.rows), -1)
            xp.matmul(some.doubled, group.points.T, out=products)
            products += some.norms[:, None]
            nearest = xp.minimum(nearest, xp.amin(products, axis=0))
        nearest = (nearest + group.norms).clip(min=0)
        group.squared[:] = xp.minimum(group.squared, nearest)

    def _distances_between(self, points: Array, norms: Array) -> Array:
        """Compute all squared distances between a few points, shape [S, S]."""
        squared = self._xp.empty((len(points), len(points)), **self._floats)

        def compute(block: slice) -> None:
            self._xp.matmul(-2 * points[block], points.T, out=squared[block])
            squared[block] += norms
            squared[block] += norms[block, None]

        self._for_each(compute, blocks(len(points), _LEADERS_PER_BLOCK))
        return squared.clip(min=0)


def _squared_norms(rows: Array) -> Array:
    return (rows * rows).sum(axis=1)
