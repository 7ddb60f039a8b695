"""The anchor distances of a greedy selection, brought up to date only where it can matter.

An anchor that has not seen the latest picks is an upper bound, for anchors only fall. Of two rows
only the one with the larger anchor can be the next pick, so a row is done with, for now, as soon as
anything shows that its anchor is below the limit: the largest one among the rows that nobody looks
at. Mostly that is a pick nearby. The first picks divide the rows into cells, by which of them is
nearest, and a row is compared with the picks of its own cell before it is compared with all.

Distances are kept squared, which has the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

LEADERS = 1024
# More make a row's nearest pick more often another cell's, fewer have more picks to compare with.
_CELLS = 16
_ROWS_PER_BLOCK = 4096
_ROWS_PER_PASS = 1 << 13
_PICKS_PER_BLOCK = 512
# Rows that have dropped out are computed along until so many have that moving the others pays.
_WORTH_KEEPING = 0.8
_PICKED = -1.0


class Limit(NamedTuple):
    """The largest squared anchor outside a group of rows, and the lowest row that has it."""

    squared: float
    row: int

    def permits(self, squared: float, row: int) -> bool:
        """Tell whether a row of the group comes before every row outside."""
        return squared > self.squared or (squared == self.squared and row < self.row)


@dataclass
class _Group:
    """Some rows, gathered side by side: their numbers, coordinates, norms and squared anchors."""

    rows: torch.Tensor
    points: torch.Tensor
    norms: torch.Tensor
    squared: torch.Tensor

    def where(self, kept: torch.Tensor | slice) -> _Group:
        """Keep some of the rows."""
        return _Group(self.rows[kept], self.points[kept], self.norms[kept], self.squared[kept])


class Anchors:
    """The rows, their squared anchor distances, and how many picks each of these has seen.

    Parameters
    ----------
    rows : Tensor of float32, shape [N, d]
        Not far from the origin, for the sake of rounding.
    squared : Tensor of float32, shape [N]
        Square of each row's initial anchor distance.
    capacity : int
        How many rows will be picked at most.

    Attributes
    ----------
    squared : Tensor of float32, shape [N]
        At least the square of each row's anchor distance.
    pick_count : int
    """

    def __init__(self, rows: torch.Tensor, squared: torch.Tensor, capacity: int) -> None:
        self._rows = rows
        self._norms = by_parts(rows, rows.dtype, lambda part: part.square().sum(dim=1))
        self.squared = squared.clone()
        self.pick_count = 0
        # A row has seen all of the first picks, up to a number, and some of the others.
        self._seen = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        self._cells: torch.Tensor | None = None
        self._picks = torch.empty(capacity, dtype=torch.int64, device=rows.device)
        self._pick_rows = rows.new_empty((capacity, rows.shape[1]))
        self._pick_norms = rows.new_empty(capacity)
        self._scratch = rows.new_empty(_ROWS_PER_BLOCK * _PICKS_PER_BLOCK)

    @property
    def picks(self) -> npt.NDArray[np.int64]:
        """The picked rows so far, in order."""
        return self._picks[: self.pick_count].cpu().numpy()

    def refresh(self, pool: torch.Tensor, limit: Limit) -> torch.Tensor:
        """Lower the anchors of the pool's rows by the picks that they have not seen.

        A row is left alone as soon as its anchor falls below the limit: the next pick will not be
        it, whatever the picks that it has still not seen.

        Parameters
        ----------
        pool : Tensor of int64
            Ascending row numbers.
        limit : Limit
            Of the rows outside the pool.

        Returns
        -------
        Tensor of int64
            The pool's rows whose anchors are up to date and not below the limit, ascending.
        """
        outdated = pool[self._seen[pool] < self.pick_count]
        if len(outdated):
            self._compare_within_cells(outdated)
            outdated = outdated[self.squared[outdated] >= limit.squared]
        order = self._seen[outdated].argsort()
        for start in range(0, len(order), _ROWS_PER_BLOCK):
            self._refresh_block(outdated[order[start : start + _ROWS_PER_BLOCK]], limit)
        is_ready = (self._seen[pool] == self.pick_count) & (self.squared[pool] >= limit.squared)
        return pool[is_ready]

    def _compare_within_cells(self, rows: torch.Tensor) -> None:
        """Lower rows' anchors by the picks of their own cells, whether they have seen these or not.

        That makes the anchors lower upper bounds; up to which pick a row has seen all stays.
        """
        if self._cells is None:
            self._cells = self._divide()
        order, row_ends = _sorted(self._cells[rows])
        group = self._gather(rows[order])
        order, pick_ends = _sorted(self._cells[self._picks[: self.pick_count]])
        pick_rows, pick_norms = self._pick_rows[order], self._pick_norms[order]
        first_row = first_pick = 0
        for last_row, last_pick in zip(row_ends, pick_ends, strict=True):
            if last_row > first_row and last_pick > first_pick:
                of_cell, its = slice(first_row, last_row), slice(first_pick, last_pick)
                nearest = self._nearest(group.where(of_cell), pick_rows[its], pick_norms[its])
                torch.minimum(group.squared[of_cell], nearest, out=group.squared[of_cell])
            first_row, first_pick = last_row, last_pick
        self.squared[group.rows] = group.squared

    def _refresh_block(self, rows: torch.Tensor, limit: Limit) -> None:
        """Refresh rows that have seen about as many picks, until they fall below the limit."""
        first = int(self._seen[rows].min())
        group = self._gather(rows)
        while first < self.pick_count and len(group.rows):
            last = min(first + _PICKS_PER_BLOCK, self.pick_count)
            group.squared = torch.minimum(group.squared, self._nearest_pick(group, first, last))
            alive = group.squared >= limit.squared
            if last == self.pick_count or int(alive.sum()) < _WORTH_KEEPING * len(alive):
                self.squared[group.rows] = group.squared
                self._seen[group.rows] = self._seen[group.rows].clamp(min=last)
                group = group.where(alive)
            first = last

    def pick_inside(self, pool: torch.Tensor, limit: Limit, wanted: int) -> None:
        """Pick from an up-to-date pool while its largest anchor comes before the limit outside.

        Parameters
        ----------
        pool : Tensor of int64
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
            chosen = _pick_among(
                _squared_distances(group.points[leaders], group.norms[leaders]).cpu().numpy(),
                group.squared[leaders].cpu().numpy(),
                rows.cpu().numpy(),
                max(inner, limit, key=lambda bound: (bound.squared, -bound.row)),
                stop - self.pick_count,
            )
            if not chosen:
                break
            positions = torch.as_tensor(chosen, device=rows.device)
            before = self.pick_count
            self._append(rows[positions])
            nearest = self._nearest_pick(group, before, self.pick_count)
            group.squared = torch.minimum(group.squared, nearest)
            group.squared[leaders[positions]] = _PICKED
        self.squared[pool] = group.squared
        self._seen[pool] = self.pick_count

    def _append(self, picks: torch.Tensor) -> None:
        added = slice(self.pick_count, self.pick_count + len(picks))
        self._picks[added] = picks
        self._pick_rows[added] = self._rows[picks]
        self._pick_norms[added] = self._norms[picks]
        self.pick_count = added.stop

    def _gather(self, rows: torch.Tensor) -> _Group:
        return _Group(rows, self._rows[rows], self._norms[rows], self.squared[rows])

    def _divide(self) -> torch.Tensor:
        """Tell for each row which of the first picks is nearest, uint8 of shape [N]."""
        first = slice(0, min(_CELLS, self.pick_count))
        norms, picks = self._pick_norms[first], self._pick_rows[first].T
        return by_parts(
            self._rows,
            torch.uint8,
            lambda part: torch.addmm(norms, part, picks, alpha=-2).argmin(dim=1),
        )

    def _nearest_pick(self, group: _Group, first: int, last: int) -> torch.Tensor:
        """Compute each row's squared distance to the nearest of the picks [first, last)."""
        return self._nearest(group, self._pick_rows[first:last], self._pick_norms[first:last])

    def _nearest(
        self, group: _Group, others: torch.Tensor, other_norms: torch.Tensor
    ) -> torch.Tensor:
        """Compute each row's squared distance to the nearest of other points."""
        nearest = torch.full_like(group.norms, torch.inf)
        for start in range(0, len(nearest), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            points = group.points[block]
            for other in range(0, len(others), _PICKS_PER_BLOCK):
                some = slice(other, other + _PICKS_PER_BLOCK)
                norms = other_norms[some]
                # Without a place of its own, each product would fault in fresh memory.
                products = self._scratch[: len(points) * len(norms)].view(len(points), -1)
                torch.addmm(norms, points, others[some].T, alpha=-2, out=products)
                nearest[block] = torch.minimum(nearest[block], products.amin(dim=1))
        return nearest.add_(group.norms).clamp_(min=0)


def leading(squared: torch.Tensor, count: int) -> tuple[torch.Tensor, Limit]:
    """Find the `count` rows with the largest anchors, lowest rows first among equals.

    Parameters
    ----------
    squared : Tensor of float32, shape [N]
    count : int

    Returns
    -------
    leading : Tensor of int64
        Ascending row numbers.
    limit : Limit
        The best of the other rows.
    """
    if count >= len(squared):
        return torch.arange(len(squared), device=squared.device), Limit(-np.inf, 0)
    threshold = torch.topk(squared, count, sorted=False).values.min()
    above = (squared > threshold).nonzero().squeeze(1)
    equal = (squared == threshold).nonzero().squeeze(1)
    largest = torch.cat([above, equal[: count - len(above)]]).sort().values
    others = squared.clone()
    others[largest] = -torch.inf
    row = int(others.argmax())
    return largest, Limit(float(others[row]), row)


def by_parts(
    rows: torch.Tensor, dtype: torch.dtype, function: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Compute one number for each row; what that takes meanwhile is bounded.

    The place for the numbers is there from the beginning: small results that stay between large
    ones that go would scatter the memory.

    Parameters
    ----------
    rows : Tensor, shape [N, d]
    dtype : torch.dtype
        Of the numbers.
    function : callable
        Given some of the rows, returns their numbers.

    Returns
    -------
    Tensor of `dtype`, shape [N]
    """
    values = torch.empty(len(rows), dtype=dtype, device=rows.device)
    for start in range(0, len(rows), _ROWS_PER_PASS):
        part = slice(start, start + _ROWS_PER_PASS)
        values[part] = function(rows[part])
    return values


def _sorted(cells: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """Sort by cell: the order, and up to where in it each cell reaches."""
    ends = torch.bincount(cells, minlength=_CELLS).cumsum(dim=0)
    return cells.argsort(stable=True), ends.tolist()


def _pick_among(
    distances: npt.NDArray[np.float32],
    squared: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    limit: Limit,
    wanted: int,
) -> list[int]:
    """Run the literal greedy loop on a few rows, given all squared distances between them.

    Returns the picked positions in order.
    """
    squared = squared.copy()
    chosen: list[int] = []
    while len(chosen) < wanted:
        best = int(squared.argmax())
        if not limit.permits(float(squared[best]), int(rows[best])):
            break
        chosen.append(best)
        np.minimum(squared, distances[best], out=squared)
        squared[best] = _PICKED
    return chosen


def _squared_distances(points: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    """Compute all squared distances between a few points, shape [S, S]."""
    return torch.addmm(norms, points, points.T, alpha=-2).add_(norms[:, None]).clamp_(min=0)
