"""The coreset in shards: greedy selection inside each of several ranges of images, then the union.

The bound of the radius, the largest distance of a row to its nearest pick (Gonzalez 1985): the m
picks of a shard and its farthest row are m + 1 rows with no two closer than the shard's radius. Of
any m balls that cover *all* rows, two of these rows share one, so the radius of the shard is at
most twice that of the balls; and the union is at least as near to every row as its shard. So N
shards of m picks stay within twice the smallest radius with which m balls cover all rows, however
the rows are divided; greedy selection of N m rows at once stays within twice that of N m balls.
Where shards differ, m is the number of picks of the smallest.

Picks are that far apart if each was the row farthest from those before. `greedy_coreset` begins
with values above any distance, so all but its first are. `approx_greedy_coreset` ranks a row by its
mean distance to the starting points where that is smaller. The bound holds if for the row that is
farthest from the picks in the end it is not; else that row is left uncovered because it is near the
starting points: its mean distance to them is at most twice the radius of the balls.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.coreset.samplers import sample_count
from patchcore_ops.runtime.rows import even_bounds


def picks_of_shard(start: int, stop: int, coreset: CoresetSection) -> int:
    """Return how many of the rows from `start` to `stop` a shard picks.

    All shards together pick as many as `sample_count` gives for all rows.
    """
    return sample_count(stop, coreset) - sample_count(start, coreset)


def picks_of_shards(rows: int, images: int, coreset: CoresetSection) -> list[int]:
    """Return how many rows each shard picks, given how many rows all images have together."""
    bounds = [rows // images * image for image in even_bounds(images, coreset.shards)]
    return [picks_of_shard(start, stop, coreset) for start, stop in pairwise(bounds)]


def interleaved(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the order in which shards take turns, as positions in their concatenation.

    First come the first picks of all shards, then the second ones, and so on: so any number of
    first picks covers all shards.
    """
    pick = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    return np.argsort(pick, kind="stable").astype(np.int64)
