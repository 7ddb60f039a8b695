"""Greedy k-center selection (paper, algorithm 1), exact but without most of the distances.

The definition: every row has an anchor distance, the distance to its nearest pick. The row with the
largest one is picked next, and all anchor distances are lowered to the distance to it where that is
smaller. Written literally, each pick is a pass over all rows.

Anchor distances only fall, so an outdated one is an upper bound. Only a pool of the rows with the
largest bounds is kept up to date, and picks are made inside the pool while its largest value is not
below the largest bound outside. Inside the pool the same holds once more: the distances between a
few candidates fit into the processor's cache, where a pick costs microseconds. What remains are
matrix products.

Distances are kept squared. Rows are shifted so that the first is the origin: a common offset would
spoil the rounding of |a|^2 - 2ab + |b|^2, and unlike the mean this shift keeps whole numbers whole,
so that ties stay ties.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from patchcore_ops.coreset.candidates import best_candidates
from patchcore_ops.coreset.lazy_distances import LazyDistances
from patchcore_ops.runtime.array_namespace import Array, namespace_of
from patchcore_ops.runtime.block_threads import block_threads, by_parts
from patchcore_ops.runtime.progress import Progress

POOL_SIZE = 16384
# While picks are few, anchors fall fast everywhere and a pool would be outdated at once.
PICKS_BEFORE_POOLING = 64


def k_center_greedy(
    points: Array,
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
    points : float32 ndarray or Tensor, shape [N, d]
        The rows; a tensor is worked on by torch, where it is.
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

    Examples
    --------
    >>> rows = np.array([[0.0], [1.0], [10.0], [4.0]], dtype=np.float32)
    >>> k_center_greedy(rows, 3, start_indices=[0])
    array([2, 3, 1])
    """
    xp = namespace_of(points)
    origin, starts = xp.asarray(points[:1], copy=True), points[list(start_indices)]
    with block_threads(points) as for_each:
        anchors = by_parts(
            points, xp.float64, lambda part: _mean_distances(part, starts, origin), for_each
        )
    rows = _shifted(points, in_place)
    squared = xp.asarray(anchors * anchors, dtype=xp.float32)
    return greedy_picks(rows, squared, num_samples, on_progress)


def exact_k_center_greedy(
    points: Array,
    num_samples: int,
    on_progress: Progress | None = None,
    in_place: bool = False,
) -> npt.NDArray[np.int64]:
    """Pick rows as the reference's `greedy_coreset` does, without its N x N distance matrix.

    A row's anchor distance starts as the Euclidean norm of its distances to all rows, which has the
    closed form N |x|^2 - 2 x.S + Q with S the sum of all rows and Q that of their squared norms.

    Parameters and returns as `k_center_greedy`.
    """
    xp = namespace_of(points)
    mean = points.sum(axis=0, dtype=xp.float64) / max(len(points), 1)
    with block_threads(points) as for_each:
        squares = by_parts(
            points, xp.float64, lambda part: ((part - mean) ** 2).sum(axis=1), for_each
        )
    squared = xp.asarray(len(points) * squares + squares.sum(), dtype=xp.float32)
    return greedy_picks(_shifted(points, in_place), squared, num_samples, on_progress)


def greedy_picks(
    rows: Array,
    squared_anchors: Array,
    num_samples: int,
    on_progress: Progress | None = None,
) -> npt.NDArray[np.int64]:
    """Pick rows [N, d], near the origin, greedily from their squared anchor distances [N]."""
    if not 0 <= num_samples <= len(rows):
        raise ValueError(f"cannot pick {num_samples} of {len(rows)} rows")
    if not bool(namespace_of(rows).isfinite(squared_anchors).all()):
        raise ValueError("cannot pick among rows that are not finite")
    with block_threads(rows) as for_each:
        anchors = LazyDistances(rows, squared_anchors, num_samples, for_each)
        while (wanted := num_samples - anchors.pick_count) > 0:
            if anchors.pick_count < PICKS_BEFORE_POOLING:
                pool, limit = best_candidates(anchors.squared, len(rows))
                wanted = min(wanted, PICKS_BEFORE_POOLING)
            else:
                pool, limit = best_candidates(anchors.squared, POOL_SIZE)
            anchors.pick_inside(anchors.refresh(pool, limit), limit, wanted)
            if on_progress is not None:
                on_progress(anchors.pick_count, num_samples)
        return anchors.picks


def _shifted(rows: Array, in_place: bool) -> Array:
    """Shift rows so that the first is the origin."""
    shifted = rows if in_place else namespace_of(rows).asarray(rows, copy=True)
    shifted -= namespace_of(rows).asarray(rows[:1], copy=True)
    return shifted


def _mean_distances(rows: Array, starts: Array, origin: Array) -> Array:
    """Compute each row's mean Euclidean distance to the starting rows, float64 of shape [N]."""
    xp = namespace_of(rows)
    rows, starts = (xp.asarray(of, dtype=xp.float64) - origin for of in (rows, starts))
    norms, start_norms = ((of * of).sum(axis=1) for of in (rows, starts))
    squared = norms[:, None] - 2 * (rows @ starts.T) + start_norms
    return xp.sqrt(squared.clip(min=0)).mean(axis=1)
