"""The stage `test_predictions`: scores and anomaly maps of the test images, by search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.arrays import ArrayWriter
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.runtime.rows import Rows
from patchcore_ops.scoring.maps import (
    Range,
    combine,
    ensemble_maps,
    extent,
    image_scores,
    map_extents,
    patch_scores,
)
from patchcore_ops.scoring.neighbours import Searcher, read_index
from patchcore_ops.stages import layout
from patchcore_ops.stages.raw_embeddings import Grid

_IMAGES_PER_SEARCH = 4


@dataclass(frozen=True)
class Predictions:
    """The result of the search."""

    table: pd.DataFrame  # see `layout.read_scores`; `score_<member>` is a member's own score
    proven_share: float | None  # of the patches, by bounds alone; None if no bounds were used


class Ranges(BaseModel, frozen=True):
    """Contents of `ranges.json`: what each member of an ensemble is scaled by; one is not scaled.

    Each is the least and the greatest over the test images.
    """

    scores: tuple[Range, ...]
    maps: tuple[Range, ...]

    def write(self, folder: Path) -> None:
        """Write `ranges.json`."""
        (folder / layout.RANGES).write_text(self.model_dump_json() + "\n", encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> Ranges:
        """Read `ranges.json`."""
        return Ranges.model_validate_json((folder / layout.RANGES).read_bytes())


NO_RANGES = Ranges(scores=(), maps=())


def predict(
    embeddings: Path,
    indices: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
) -> Predictions:
    """Score the test images of a category, those that were embedded.

    Writes `scores.parquet`, `anomaly_maps.npy`, `ranges.json` and `images.parquet`, the rows of the
    images.
    """
    images = layout.test_rows(layout.read_images(embeddings))
    members = len(config.embedding.members)
    by_member: list[npt.NDArray[np.float32]] = []
    proven_shares: list[float] = []
    folders = zip(
        layout.member_folders(embeddings, members),
        layout.member_folders(indices, members),
        strict=True,
    )
    for member, (of_embeddings, of_index) in enumerate(folders):
        grid = Grid.read(of_embeddings)
        searcher = Searcher(read_index(of_index / layout.INDEX), config.index, runtime)
        queries = layout.test_embeddings(of_embeddings)
        scores = np.empty((grid.test_images, grid.height, grid.width), dtype=np.float32)
        neighbours = config.scoring.anomaly_scorer_num_nn
        for searched in _search_images(searcher, queries, neighbours, scores):
            if on_progress is not None:
                on_progress(member * len(images) + searched, members * len(images))
        by_member.append(scores)
        if searcher.proven_share is not None:
            proven_shares.append(searcher.proven_share)
    ranges = ranges_over(by_member, config) if members > 1 else NO_RANGES
    write_predictions(images, by_member, ranges, config, folder)
    return Predictions(layout.read_scores(folder), min(proven_shares, default=None))


def write_predictions(
    images: pd.DataFrame,
    by_member: Sequence[npt.NDArray[np.float32]],
    ranges: Ranges,
    config: CategoryConfig,
    folder: Path,
) -> None:
    """Write scores and maps of test images, from the members' patch scores, shape [n, h, w]."""
    member_scores = [image_scores(scores) for scores in by_member]
    predictions = images[["path", "label", "is_anomaly"]].reset_index(drop=True)
    predictions["score"] = combine(member_scores, ranges.scores)
    for member, scores in enumerate(member_scores):
        predictions[f"score_{member}"] = scores
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(folder / layout.SCORES, index=False)
    images.to_parquet(folder / layout.IMAGES, index=False)
    ranges.write(folder)
    side = config.dataset.imagesize
    with ArrayWriter(folder / layout.ANOMALY_MAPS, (len(images), side, side)) as writer:
        for maps in ensemble_maps(by_member, side, config.scoring.smoothing_sigma, ranges.maps):
            writer.append(maps)


def ranges_over(by_member: Sequence[npt.NDArray[np.float32]], config: CategoryConfig) -> Ranges:
    """Return the ranges of the members over all images, from their patch scores."""
    side, sigma = config.dataset.imagesize, config.scoring.smoothing_sigma
    return Ranges(
        scores=tuple(extent(image_scores(scores)) for scores in by_member),
        maps=tuple(map_extents(by_member, side, sigma)),
    )


def _search_images(
    searcher: Searcher, queries: Rows, neighbours: int, scores: npt.NDArray[np.float32]
) -> Iterator[int]:
    """Fill the patch scores, shape [images, h, w]; yield how many images are done, in steps."""
    images, height, width = scores.shape
    patches = height * width
    for start in range(0, images, _IMAGES_PER_SEARCH):
        stop = min(start + _IMAGES_PER_SEARCH, images)
        rows = queries.read(start * patches, stop * patches)
        distances, _ = searcher.search(rows, neighbours, patches)
        scores[start:stop] = patch_scores(distances, stop - start, (height, width))
        yield stop
