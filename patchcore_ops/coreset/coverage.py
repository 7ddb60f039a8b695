"""How well a memory bank covers the patches: the radius after so many picks.

The coverage radius is the distance of the patch that is farthest from its nearest pick. It is what
greedy k-center selection makes small, and it is measured where that measures: in the random
projection of the embeddings.
"""

from __future__ import annotations

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
    `approx_greedy_coreset` begins, is larger); only that of the whole bank is from the sample. In a
    bank of shards picks take turns, and all of these are from the sample.
    """
    count = min(SAMPLED_ROWS, max(_MAX_DISTANCES // len(indices), 64))
    is_exact = len(embeddings) <= count
    sample = np.unique(np.linspace(0, len(embeddings) - 1, count).astype(np.int64))
    next_picks = indices[np.array(_powers_of_two(len(indices)), dtype=np.int64)]
    sample = np.unique(np.concatenate([sample, next_picks]))
    draws = Draws(coreset.seed)
    weight = random_projection(embeddings.shape[1], coreset.projection_dimension, draws)
    rows = _projected(embeddings.take(sample), weight)
    picks = np.empty((len(features), rows.shape[1]), dtype=np.float32)
    start = 0
    for block in features.blocks():
        picks[start : start + len(block)] = _projected(block, weight)
        start += len(block)
    numbers, radius = radius_by_picks(rows, picks)
    return Coverage(numbers, radius, len(rows), is_exact)


def _projected(
    rows: npt.NDArray[np.float32], weight: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    return rows if weight is None else rows @ weight


def radius_by_picks(
    rows: npt.NDArray[np.float32], picks: npt.NDArray[np.float32]
) -> tuple[list[int], list[float]]:
    """Compute the largest distance of any row [S, d] to its nearest pick, by number of picks.

    `picks` [M, d] are in pick order. Returns 1, 2, 4, ..., M and the radius after as many picks.
    """
    rows, picks = rows - picks[:1], picks - picks[:1]
    norms = np.einsum("ij,ij->i", picks, picks)
    # Less the squared norm of the row, which does not change which pick is nearest.
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    row_norms = np.einsum("ij,ij->i", rows, rows)
    numbers = [*_powers_of_two(len(picks)), len(picks)]
    radius, start = [], 0
    for stop in numbers:
        for first in range(start, stop, _PICKS_PER_BLOCK):
            block = slice(first, min(first + _PICKS_PER_BLOCK, stop))
            products = (-2 * picks[block]) @ rows.T
            products += norms[block, None]
            nearest = np.minimum(nearest, products.min(axis=0))
        start = stop
        farthest = (nearest + row_norms).argmax()
        # Once more by differences: near zero, the products are all rounding.
        apart = picks[:stop] - rows[farthest]
        radius.append(float(np.sqrt(np.einsum("ij,ij->i", apart, apart).min())))
    return numbers, radius


def _powers_of_two(limit: int) -> list[int]:
    """Return 1, 2, 4, ... below a limit."""
    return [1 << power for power in range((limit - 1).bit_length())]
