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

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from patchcore_ops.anchors import Anchors, by_parts, leading
from patchcore_ops.progress import Progress

POOL_SIZE = 16384
# While picks are few, anchors fall fast everywhere and a pool would be outdated at once.
PICKS_BEFORE_POOLING = 64


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
    anchors = by_parts(rows, torch.float64, lambda part: _mean_distances(part, starts))
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
    squares = by_parts(rows, torch.float64, lambda part: (part.double() - mean).square().sum(dim=1))
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
    anchors = Anchors(rows, squared_anchors, num_samples)
    while (wanted := num_samples - anchors.pick_count) > 0:
        if anchors.pick_count < PICKS_BEFORE_POOLING:
            pool, limit = leading(anchors.squared, len(rows))
            wanted = min(wanted, PICKS_BEFORE_POOLING)
        else:
            pool, limit = leading(anchors.squared, POOL_SIZE)
        anchors.pick_inside(anchors.refresh(pool, limit), limit, wanted)
        if on_progress is not None:
            on_progress(anchors.pick_count, num_samples)
    return anchors.picks


def _shifted(rows: torch.Tensor, in_place: bool) -> torch.Tensor:
    """Shift rows so that the first is the origin."""
    origin = rows[:1].clone()
    return rows.sub_(origin) if in_place else rows - origin


def _mean_distances(rows: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Compute each row's mean Euclidean distance to the starting rows, float64 of shape [N]."""
    distances = torch.cdist(
        rows.double(), starts.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return distances.mean(dim=1)
