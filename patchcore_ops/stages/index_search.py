"""Scores of many images' patches by their neighbours in an index that may be larger than memory.

A large flat index is searched block by block, so that memory holds one block of it. What a block
has found bounds what the next ones look for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.runtime.rows import Rows
from patchcore_ops.scoring.certified_search import Found
from patchcore_ops.scoring.index_file import IndexFile
from patchcore_ops.scoring.maps import patch_scores
from patchcore_ops.scoring.neighbours import Searcher
from patchcore_ops.stages import layout
from patchcore_ops.stages.raw_embeddings import Grid

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
_IMAGES_PER_SEARCH = 4


class Queries(NamedTuple):
    """The embeddings of some images, of which `images` are the positions.

    Where `image_of_row` tells which image each row of the bank comes from, an image is searched
    without its own rows.
    """

    embeddings: Rows
    images: range | Indices
    grid: Grid
    image_of_row: Indices | None = None

    def batches(self) -> Iterator[tuple[slice, Floats, list[Indices] | None]]:
        """Read some images at a time: their place among all, and of each image excluded rows."""
        patches = self.grid.patches
        for start in range(0, len(self.images), _IMAGES_PER_SEARCH):
            images = [int(image) for image in self.images[start : start + _IMAGES_PER_SEARCH]]
            excluded = None
            if self.image_of_row is not None:
                excluded = [np.flatnonzero(self.image_of_row == image) for image in images]
            place = slice(start * patches, (start + len(images)) * patches)
            yield place, self._read(images), excluded

    def _read(self, images: list[int]) -> Floats:
        """Read the embeddings of ascending images: of neighbours at once, without a copy."""
        patches, stop = self.grid.patches, images[-1] + 1
        if stop - images[0] == len(images):
            return self.embeddings.read(images[0] * patches, stop * patches)
        return np.concatenate([self._read([image]) for image in images])


def scored_patches(
    member: int,
    of_index: Path,
    queries: Queries,
    config: CategoryConfig,
    runtime: RuntimeSection,
    on_progress: Progress | None,
) -> tuple[Floats, int | None]:
    """Return the patch scores of images, shape [n, h, w], and how many bounds have proven.

    `on_progress` is told how many of the images are done, of all members.
    """
    images, members = len(queries.images), len(config.embedding.members)

    def note(done: int, of: int) -> None:
        if on_progress is not None:
            on_progress(member * images + images * done // of, members * images)

    index = IndexFile.at(of_index / layout.INDEX)
    distances, proven = _nearest_distances(index, queries, config, runtime, note)
    grid = queries.grid.height, queries.grid.width
    return patch_scores(distances, images, grid, config.scoring.distance), proven


def _nearest_distances(
    index: IndexFile,
    queries: Queries,
    config: CategoryConfig,
    runtime: RuntimeSection,
    on_progress: Progress,
) -> tuple[Floats, int | None]:
    """Return the distances to the nearest features, ascending, and how many bounds have proven."""
    count = len(queries.images) * queries.grid.patches
    neighbours = config.scoring.anomaly_scorer_num_nn
    nearest = np.full((count, neighbours), np.inf, dtype=np.float32)
    proven: npt.NDArray[np.bool_] | None = np.ones(count, dtype=np.bool_)
    blocks = index.blocks()
    for number, block in enumerate(blocks):
        limits = nearest[:, -1] if number else None
        for place, found in _found_in(index, block, queries, limits, config, runtime):
            if number:
                both = np.hstack([nearest[place], found.distances])
                nearest[place] = np.sort(both, axis=1)[:, :neighbours]
            else:
                nearest[place] = found.distances
            if proven is None or found.proven is None:
                proven = None
            else:
                proven[place] &= found.proven
            on_progress(number * count + place.stop, len(blocks) * count)
    return nearest, None if proven is None else int(proven.sum())


def _found_in(
    index: IndexFile,
    block: range,
    queries: Queries,
    limits: Floats | None,
    config: CategoryConfig,
    runtime: RuntimeSection,
) -> Iterator[tuple[slice, Found]]:
    """Search a block of an index, which is in memory for so long as this goes on."""
    searcher = Searcher(index.read(block), config.index, runtime)
    neighbours = config.scoring.anomaly_scorer_num_nn
    for place, vectors, excluded in queries.batches():
        within = None if limits is None else limits[place]
        own = None
        if excluded is not None:
            own = [
                rows[(rows >= block.start) & (rows < block.stop)] - block.start for rows in excluded
            ]
        yield place, searcher.find(vectors, neighbours, queries.grid.patches, within, own)
