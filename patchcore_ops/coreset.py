"""Greedy k-center selection without computing most of the distances, and without changing a pick.

The definition (paper, algorithm 1; reference: `ApproximateGreedyCoresetSampler`): every row has an
anchor distance; as often as asked, the row with the largest one is picked, and every anchor is
lowered to the row's distance to the pick where that is smaller. Written literally, each pick is a
pass over all rows.

Anchors only fall, so an outdated one is an upper bound. It is enough to keep a pool of the rows
with the largest anchors up to date, and to pick inside the pool as long as its largest anchor is
not below the largest outdated one outside. Inside the pool the same holds once more: the leading
rows and the distances between them fit into the processor's cache, where a pick costs microseconds.
What remains are matrix products.

Distances are kept squared, which has the same order. Rows are shifted so that the first is the
origin: a common offset would spoil the rounding of |a|^2 - 2ab + |b|^2, and unlike a shift by the
mean this one keeps whole numbers whole, so that ties stay ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from patchcore_ops.progress import Progress

POOL_SIZE = 16384
LEADERS = 1024
# While picks are few, anchors fall fast everywhere and a pool would be outdated at once.
PICKS_BEFORE_POOLING = 64
_ROWS_PER_BLOCK = 4096
_ROWS_PER_PASS = 1 << 16
_PICKS_PER_BLOCK = 512
# Rows that have dropped out are computed along until so many have that moving the others pays.
_WORTH_KEEPING = 0.8
_PICKED = -1.0


def k_center_greedy(
    points: torch.Tensor | npt.NDArray[np.float32],
    num_samples: int,
    start_indices: Sequence[int],
    on_progress: Progress | None = None,
    in_place: bool = False,
) -> npt.NDArray[np.int64]:
    """Pick rows greedily so that every row is close to a pick.

    A row's anchor distance starts as its mean Euclidean distance to the starting rows. These are
    not picks themselves. The lowest row number wins a tie, and no row is picked twice.

    Parameters
    ----------
    points : float32 Tensor or ndarray, shape [N, d]
        The rows; a CUDA tensor is worked on where it is.
    num_samples : int
        Number of picks, at most N.
    start_indices : sequence of int
        Rows that initialise the anchor distances.
    on_progress : callable, optional
        Called with (picks so far, `num_samples`) now and then.
    in_place : bool
        Whether `points` may be overwritten, which spares a copy of it.

    Returns
    -------
    ndarray of int64, shape [num_samples]
        Row numbers in the order in which they were picked.
    """
    rows = torch.as_tensor(points)
    starts = rows[torch.as_tensor(np.asarray(start_indices, dtype=np.int64), device=rows.device)]
    anchors = _by_parts(rows, torch.float64, lambda part: _mean_distances(part, starts))
    shifted = _shifted(rows, in_place)
    return greedy_picks(shifted, anchors.square().float(), num_samples, on_progress)


def exact_k_center_greedy(
    points: torch.Tensor | npt.NDArray[np.float32],
    num_samples: int,
    on_progress: Progress | None = None,
    in_place: bool = False,
) -> npt.NDArray[np.int64]:
    """Pick rows as the reference's `greedy_coreset` does, without its N x N distance matrix.

    A row's anchor distance starts as the Euclidean norm of its distances to all rows, which has the
    closed form N |x|^2 - 2 x.S + Q with S the sum of all rows and Q that of their squared norms.

    Parameters and returns as `k_center_greedy`.
    """
    rows = torch.as_tensor(points)
    mean = rows.sum(dim=0, dtype=torch.float64) / max(len(rows), 1)
    squares = _by_parts(
        rows, torch.float64, lambda part: (part.double() - mean).square().sum(dim=1)
    )
    anchors = len(rows) * squares + squares.sum()
    return greedy_picks(_shifted(rows, in_place), anchors.float(), num_samples, on_progress)


def greedy_picks(
    rows: torch.Tensor,
    squared_anchors: torch.Tensor,
    num_samples: int,
    on_progress: Progress | None = None,
) -> npt.NDArray[np.int64]:
    """Pick greedily from given anchor distances.

    Parameters
    ----------
    rows : Tensor of float32, shape [N, d]
        Not far from the origin, for the sake of rounding.
    squared_anchors : Tensor of float32, shape [N]
        Square of each row's initial anchor distance.
    num_samples : int
        Number of picks.
    on_progress : callable, optional
        Called with (picks so far, `num_samples`) now and then.

    Returns
    -------
    ndarray of int64, shape [num_samples]
    """
    if not 0 <= num_samples <= len(rows):
        raise ValueError(f"cannot pick {num_samples} of {len(rows)} rows")
    if not bool(torch.isfinite(squared_anchors).all()):
        raise ValueError("cannot pick among rows that are not finite")
    anchors = _Anchors(rows, squared_anchors, num_samples)
    while (wanted := num_samples - anchors.pick_count) > 0:
        if anchors.pick_count < PICKS_BEFORE_POOLING:
            pool, limit = _leading(anchors.squared, len(rows))
            wanted = min(wanted, PICKS_BEFORE_POOLING)
        else:
            pool, limit = _leading(anchors.squared, POOL_SIZE)
        anchors.pick_inside(anchors.refresh(pool, limit), limit, wanted)
        if on_progress is not None:
            on_progress(anchors.pick_count, num_samples)
    return anchors.picks


def _shifted(rows: torch.Tensor, in_place: bool) -> torch.Tensor:
    """Shift rows so that the first is the origin."""
    origin = rows[:1].clone()
    return rows.sub_(origin) if in_place else rows - origin


def _by_parts(
    rows: torch.Tensor, dtype: torch.dtype, function: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Compute one number for each row; what that takes meanwhile is bounded.

    The place for the numbers is there from the beginning: small results that stay between large
    ones that go would scatter the memory.
    """
    values = torch.empty(len(rows), dtype=dtype, device=rows.device)
    for start in range(0, len(rows), _ROWS_PER_PASS):
        part = slice(start, start + _ROWS_PER_PASS)
        values[part] = function(rows[part])
    return values


def _mean_distances(rows: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Compute each row's mean Euclidean distance to the starting rows, float64 of shape [N]."""
    distances = torch.cdist(
        rows.double(), starts.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return distances.mean(dim=1)


class _Limit(NamedTuple):
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

    def where(self, kept: torch.Tensor) -> _Group:
        """Keep some of the rows."""
        return _Group(self.rows[kept], self.points[kept], self.norms[kept], self.squared[kept])


class _Anchors:
    """The rows, their squared anchor distances, and how many picks each of these has seen."""

    def __init__(self, rows: torch.Tensor, squared: torch.Tensor, capacity: int) -> None:
        self.rows = rows
        self.norms = _by_parts(rows, rows.dtype, lambda part: part.square().sum(dim=1))
        self.squared = squared.clone()
        self.pick_count = 0
        self._seen = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        self._picks = torch.empty(capacity, dtype=torch.int64, device=rows.device)
        self._pick_rows = rows.new_empty((capacity, rows.shape[1]))
        self._pick_norms = rows.new_empty(capacity)
        self._scratch = rows.new_empty(_ROWS_PER_BLOCK * _PICKS_PER_BLOCK)

    @property
    def picks(self) -> npt.NDArray[np.int64]:
        """The picked rows so far, in order."""
        return self._picks[: self.pick_count].cpu().numpy()

    def refresh(self, pool: torch.Tensor, limit: _Limit) -> torch.Tensor:
        """Lower the anchors of the pool's rows by the picks that they have not seen.

        A row is left alone as soon as its anchor falls below the limit: the next pick will not be
        it, whatever the picks that it has still not seen.

        Returns
        -------
        Tensor of int64
            The pool's rows whose anchors are up to date and not below the limit, ascending.
        """
        order = self._seen[pool].argsort()
        for start in range(0, len(order), _ROWS_PER_BLOCK):
            self._refresh_block(pool[order[start : start + _ROWS_PER_BLOCK]], limit)
        is_ready = (self._seen[pool] == self.pick_count) & (self.squared[pool] >= limit.squared)
        return pool[is_ready]

    def _refresh_block(self, rows: torch.Tensor, limit: _Limit) -> None:
        """Refresh rows that have seen about as many picks, until they fall below the limit."""
        first = int(self._seen[rows].min())
        group = _Group(rows, self.rows[rows], self.norms[rows], self.squared[rows])
        while first < self.pick_count and len(group.rows):
            last = min(first + _PICKS_PER_BLOCK, self.pick_count)
            group.squared = torch.minimum(group.squared, self._nearest(group, first, last))
            alive = group.squared >= limit.squared
            if last == self.pick_count or int(alive.sum()) < _WORTH_KEEPING * len(alive):
                self.squared[group.rows] = group.squared
                self._seen[group.rows] = self._seen[group.rows].clamp(min=last)
                group = group.where(alive)
            first = last

    def pick_inside(self, pool: torch.Tensor, limit: _Limit, wanted: int) -> None:
        """Pick from an up-to-date pool while its largest anchor comes before the limit outside."""
        group = _Group(pool, self.rows, self.norms, self.squared)
        if len(pool) < len(self.rows):  # A copy of all rows would be one too many.
            group = _Group(pool, self.rows[pool], self.norms[pool], self.squared[pool])
        stop = self.pick_count + wanted
        while self.pick_count < stop and len(pool):
            leaders, inner = _leading(group.squared, LEADERS)
            inner = _Limit(inner.squared, int(pool[inner.row]))
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
            nearest = self._nearest(group, before, self.pick_count)
            group.squared = torch.minimum(group.squared, nearest)
            group.squared[leaders[positions]] = _PICKED
        self.squared[pool] = group.squared
        self._seen[pool] = self.pick_count

    def _append(self, picks: torch.Tensor) -> None:
        added = slice(self.pick_count, self.pick_count + len(picks))
        self._picks[added] = picks
        self._pick_rows[added] = self.rows[picks]
        self._pick_norms[added] = self.norms[picks]
        self.pick_count = added.stop

    def _nearest(self, group: _Group, first: int, last: int) -> torch.Tensor:
        """Compute each row's squared distance to the nearest of the picks [first, last)."""
        nearest = torch.full_like(group.norms, torch.inf)
        for start in range(0, len(nearest), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            points = group.points[block]
            for pick in range(first, last, _PICKS_PER_BLOCK):
                picks = slice(pick, min(pick + _PICKS_PER_BLOCK, last))
                # Without a place of its own, each product would fault in fresh memory.
                products = self._scratch[: len(points) * (picks.stop - pick)].view(len(points), -1)
                torch.addmm(
                    self._pick_norms[picks],
                    points,
                    self._pick_rows[picks].T,
                    alpha=-2,
                    out=products,
                )
                nearest[block] = torch.minimum(nearest[block], products.amin(dim=1))
        return nearest.add_(group.norms).clamp_(min=0)


def _leading(squared: torch.Tensor, count: int) -> tuple[torch.Tensor, _Limit]:
    """Find the `count` rows with the largest anchors, lowest rows first among equals.

    Returns
    -------
    leading : Tensor of int64
        Ascending row numbers.
    limit : _Limit
        The best of the other rows.
    """
    if count >= len(squared):
        return torch.arange(len(squared), device=squared.device), _Limit(-np.inf, 0)
    threshold = torch.topk(squared, count, sorted=False).values.min()
    above = (squared > threshold).nonzero().squeeze(1)
    equal = (squared == threshold).nonzero().squeeze(1)
    leading = torch.cat([above, equal[: count - len(above)]]).sort().values
    others = squared.clone()
    others[leading] = -torch.inf
    row = int(others.argmax())
    return leading, _Limit(float(others[row]), row)


def _pick_among(
    distances: npt.NDArray[np.float32],
    squared: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    limit: _Limit,
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
