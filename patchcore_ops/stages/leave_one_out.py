"""Patch scores of train images, each against the bank without the rows that come from itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.runtime.rows import Rows
from patchcore_ops.stages import layout
from patchcore_ops.stages.index_search import IMAGES_PER_SEARCH, Batch, scored_patches
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
        queries = _WithoutOwnRows(
            layout.train_embeddings(of_embeddings), images, grid, picks // grid.patches
        )
        scores, _ = scored_patches(member, of_index, queries, config, runtime, on_progress)
        scores[~np.isfinite(scores)] = np.nan
        by_member.append(scores)
    return by_member


class _WithoutOwnRows(NamedTuple):
    """The embeddings of train images, each searched for without its own rows of the bank."""

    embeddings: Rows
    images: Indices
    grid: Grid
    image_of_row: Indices  # for each row of the bank

    def batches(self) -> Iterator[Batch]:
        """Read some images at a time, with the rows of the bank that come from each."""
        patches = self.grid.patches
        for start in range(0, len(self.images), IMAGES_PER_SEARCH):
            images = self.images[start : start + IMAGES_PER_SEARCH]
            read = [
                self.embeddings.read(int(image) * patches, (int(image) + 1) * patches)
                for image in images
            ]
            yield Batch(
                slice(start * patches, (start + len(images)) * patches),
                np.concatenate(read),
                [np.flatnonzero(self.image_of_row == image) for image in images],
            )
