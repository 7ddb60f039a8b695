"""Lazy anchor distances of greedy k-center selection: outdated values are used as upper bounds.

A row's anchor distance only falls as picks are added, so a value that has not seen the latest picks
bounds it from above. A row is refreshed only while its bound reaches the limit: the largest value
among the rows outside the pool. Usually one nearby pick takes it below. To find that pick first,
the first picks divide the rows into cells (each row belongs to its nearest one), and a row is
compared with the picks of its own cell before all others.

Distances are kept squared, which has the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.coreset.candidates import PICKED, Limit, best_candidates, pick_among
from patchcore_ops.runtime.array_namespace import Array, namespace_of, to_numpy
from patchcore_ops.runtime.block_threads import ForEach, blocks, by_parts

CANDIDATES = 1024
# More make a row's nearest pick more often another cell's, fewer have more picks to compare with.
_CELLS = 16
_ROWS_PER_BLOCK = 2048
_PICKS_PER_BLOCK = 512
_CANDIDATES_PER_BLOCK = 256
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


class LazyDistances:
    """The rows, their squared anchor distances, and how many picks each of these has seen.

    `squared` holds an upper bound of the square of each row's anchor distance. Rows are float32
    [N, d] of numpy or torch, near the origin; `capacity` is the largest number of picks.
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

        A row that falls below the limit cannot be the next pick and is left outdated. Returns the
        rows of the pool (ascending) that are up to date and not below the limit.
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
        """Tighten rows' bounds by the picks of their own cells; what a row has seen stays."""
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
        """Pick up to `wanted` rows of an up-to-date pool while the best comes before the limit."""
        group = _Group(pool, self._rows, self._norms, self.squared)
        if len(pool) < len(self._rows):  # A copy of all rows would be one too many.
            group = self._gather(pool)
        stop = self.pick_count + wanted
        while self.pick_count < stop and len(pool):
            best, inner = best_candidates(group.squared, CANDIDATES)
            inner = Limit(inner.squared, int(pool[inner.row]))
            rows = pool[best]
            chosen = pick_among(
                to_numpy(self._distances_between(group.points[best], group.norms[best])),
                to_numpy(group.squared[best]),
                to_numpy(rows),
                max(inner, limit, key=lambda bound: (bound.squared, -bound.row)),
                stop - self.pick_count,
            )
            if not chosen:
                break
            positions = self._xp.asarray(chosen, **self._on)
            picks = self._append(rows[positions])
            self._for_each(partial(self._lower, group, picks), blocks(len(pool), _ROWS_PER_BLOCK))
            group.squared[best[positions]] = PICKED
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

        self._for_each(compute, blocks(len(points), _CANDIDATES_PER_BLOCK))
        return squared.clip(min=0)


def _squared_norms(rows: Array) -> Array:
    return (rows * rows).sum(axis=1)
