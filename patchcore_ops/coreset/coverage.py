"""How well a memory bank covers the patches: the radius after so many picks.

The coverage radius is the distance of the patch that is farthest from its nearest pick. It is what
greedy k-center selection makes small, and it is measured where that measures: in the random
projection of the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.coreset.projection import random_projection
from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.rows import Rows

SAMPLED_ROWS = 1024
_MAX_DISTANCES = 1 << 25
_PICKS_PER_BLOCK = 1024
# After each power of two, the next picks of so many shards join the sample.
_NEXT_PICKS = 16


@dataclass(frozen=True)
class Coverage:
    """The coverage radius after 1, 2, 4, ... and all picks, measured on `rows` rows.

    From a sample of the rows (`is_exact` is false) a radius is a lower bound.
    """

    picks: list[int]
    radius: list[float]
    rows: int
    is_exact: bool

    @property
    def final(self) -> float:
        """The radius of the whole bank."""
        return self.radius[-1]


def bank_coverage(
    embeddings: Rows,
    features: Rows,
    indices: npt.NDArray[np.int64],
    coreset: CoresetSection,
) -> Coverage:
    """Measure the coverage of a memory bank, on a sample of the rows where there are many.

    The sample is evenly spaced. With it go the picks that follow each power of two: greedy
    selection takes the farthest row next, so for the greedy samplers the radius after a power of
    two is that over all rows (as long as the mean distance to the starting points, with which
    `approx_greedy_coreset` begins, is larger); only that of the whole bank is from the sample.

    In a bank of shards, which take turns, the next pick of a shard is that shard's farthest row
    from its own picks. Another shard's pick may be nearer, so every radius is from the sample.
    """
    count = min(SAMPLED_ROWS, max(_MAX_DISTANCES // len(indices), 64))
    is_exact = len(embeddings) <= count
    sample = np.linspace(0, len(embeddings) - 1, count).astype(np.int64)
    powers = np.array(_powers_of_two(len(indices)), dtype=np.int64)
    following = powers[:, None] + np.arange(min(coreset.shards, _NEXT_PICKS))
    next_picks = indices[following[following < len(indices)]]
    sample = np.unique(np.concatenate([sample, next_picks]))
    draws = Draws(coreset.seed)
    weight = random_projection(embeddings.shape[1], coreset.projection_dimension, draws)
    rows = _projected(embeddings.take(sample), weight)
    picks = (_projected(block, weight) for block in features.blocks())
    numbers, radius = radius_by_picks(rows, picks)
    return Coverage(numbers, radius, len(rows), is_exact)


def _projected(
    rows: npt.NDArray[np.float32], weight: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    return rows if weight is None else rows @ weight


def radius_by_picks(
    rows: npt.NDArray[np.float32], picks: Iterable[npt.NDArray[np.float32]]
) -> tuple[list[int], list[float]]:
    """Compute the largest distance of any row [S, d] to its nearest pick, by number of picks.

    `picks` are blocks [B, d] in pick order, of M picks in all. Returns 1, 2, 4, ..., M and the
    radius after as many picks.
    """
    numbers: list[int] = []
    radius: list[float] = []
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    origin, seen = None, 0
    for block in picks:
        if origin is None:
            origin = block[:1].copy()
            rows = rows - origin
        start = 0
        while start < len(block):
            stop = min(start + _PICKS_PER_BLOCK, len(block), start + _next_power(seen) - seen)
            part = block[start:stop] - origin
            nearest = np.minimum(nearest, _squared_distances_to_nearest(rows, part))
            seen, start = seen + len(part), stop
            if seen & (seen - 1) == 0:
                numbers.append(seen)
                radius.append(float(np.sqrt(nearest.max())))
    if seen and numbers[-1] != seen:
        numbers.append(seen)
        radius.append(float(np.sqrt(nearest.max())))
    return numbers, radius


def _squared_distances_to_nearest(
    rows: npt.NDArray[np.float32], picks: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return each row's squared distance to the nearest of some picks, both near the origin."""
    # Less the squared norm of the row, which does not change which pick is nearest.
    products = rows @ (-2 * picks).T
    products += np.einsum("ij,ij->i", picks, picks)
    # Once more by differences: near zero, the products are all rounding.
    apart = rows - picks[products.argmin(axis=1)]
    squared: npt.NDArray[np.float32] = np.einsum("ij,ij->i", apart, apart)
    return squared


def _next_power(count: int) -> int:
    """Return the power of two above a number."""
    return 1 << count.bit_length()


def _powers_of_two(limit: int) -> list[int]:
    """Return 1, 2, 4, ... below a limit."""
    return [1 << power for power in range((limit - 1).bit_length())]
