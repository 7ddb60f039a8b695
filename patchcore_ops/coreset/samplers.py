"""Which embeddings the memory bank keeps: the named samplers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.coreset.greedy import exact_k_center_greedy, k_center_greedy
from patchcore_ops.coreset.projection import project
from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.runtime.rows import Rows


def select_rows(
    embeddings: Rows,
    coreset: CoresetSection,
    device: str = "cpu",
    on_progress: Progress | None = None,
    wanted: int | None = None,
) -> npt.NDArray[np.int64]:
    """Choose the rows of the memory bank, or those of one shard of it; return them in pick order.

    There are `wanted` of them, by default as many as the percentage gives. Only the projection of
    the embeddings is held in memory. The greedy samplers compute on `device`: `cpu` means numpy,
    any other torch. Raises ConfigError if the percentage leaves not a single row.
    """
    if coreset.sampler == "identity":
        return np.arange(len(embeddings), dtype=np.int64)
    if wanted is None:
        wanted = sample_count(len(embeddings), coreset)
    if wanted == 0:
        raise ConfigError(
            f"coreset.percentage: {coreset.percentage} of {len(embeddings)} embeddings is not a "
            "single one; raise it"
        )
    if coreset.sampler == "random":
        generator = np.random.default_rng(coreset.seed)
        return generator.choice(len(embeddings), wanted, replace=False).astype(np.int64)
    draws = Draws(coreset.seed)
    points = project(embeddings, coreset.projection_dimension, draws, device)
    if coreset.sampler == "greedy_coreset":
        return exact_k_center_greedy(points, wanted, on_progress, in_place=True)
    starts = draws.some_of(coreset.number_of_starting_points, len(points))
    return k_center_greedy(points, wanted, starts.tolist(), on_progress, in_place=True)


def sample_count(rows: int, coreset: CoresetSection) -> int:
    """Return how many of so many rows the section keeps: `int(rows * percentage)`."""
    return rows if coreset.sampler == "identity" else int(rows * coreset.percentage)
