"""Patch scores of train images, each against the bank without the rows that come from itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages import layout
from patchcore_ops.stages.index_search import Queries, scored_patches
from patchcore_ops.stages.raw_embeddings import Grid

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


def sampled(images: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw at most so many of the images, in their order.

    Examples
    --------
    >>> sampled(4, 9, seed=0)
    array([0, 1, 2, 3])
    >>> len(sampled(100, 9, seed=0))
    9
    """
    if images <= most:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, most, replace=False))


def leave_one_out_scores(
    embeddings: Path,
    bank: Path,
    indices: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    images: Indices,
    on_progress: Progress | None = None,
) -> list[Floats]:
    """Score the patches of train images as if each had not been there when the bank was made.

    The rows of the bank that come from the image are left out of its search; the rest of the bank
    stays as it was selected. `images` are positions among the train images. Returns by member an
    array of shape [images, h, w], NaN for a patch without so many neighbours.
    """
    by_member = []
    for member in range(len(config.embedding.members)):
        of_embeddings, of_bank, of_index = (
            layout.member_folder(folder, member) for folder in (embeddings, bank, indices)
        )
        grid = Grid.read(of_embeddings)
        picks = np.load(of_bank / layout.INDICES, allow_pickle=False)
        queries = Queries(
            layout.train_embeddings(of_embeddings), images, grid, picks // grid.patches
        )
        scores, _ = scored_patches(member, of_index, queries, config, runtime, on_progress)
        scores[~np.isfinite(scores)] = np.nan
        by_member.append(scores)
    return by_member
