"""The coreset in shards: greedy selection inside each of several ranges of images, then the union.

Greedy selection of m rows of a set leaves none farther from a pick than twice the radius that the
best m centres of that set would need. For a shard more holds: its m picks and its farthest row are
m + 1 rows of all, no two of them closer than its radius; of any m centres for *all* rows, two of
these must share one. So no row of any shard is farther from its nearest pick than twice the radius
of the best m centres for all rows. N shards of m picks each therefore keep the bound of greedy
selection of m rows, where greedy selection of N m rows at once would keep that of N m. (As for
unsharded selection, this takes the first pick as given. `approx_greedy_coreset` ranks rows by their
mean distance to the starting points as long as that is smaller than the distance to the picks;
picks made on that ground may be closer to each other.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.coreset.samplers import sample_count


def picks_of_shard(start: int, stop: int, coreset: CoresetSection) -> int:
    """Return how many of the rows from `start` to `stop` a shard picks.

    All shards together pick as many as `sample_count` gives for all rows.
    """
    return sample_count(stop, coreset) - sample_count(start, coreset)


def interleaved(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the order in which shards take turns, as positions in their concatenation.

    First come the first picks of all shards, then the second ones, and so on: so any number of
    first picks covers all shards.
    """
    pick = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    return np.argsort(pick, kind="stable").astype(np.int64)
