"""The stage `predictions`: scores and anomaly maps of the test images, by search alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.arrays import ArrayFile, ArrayWriter
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.scoring.maps import ensemble_maps, ensemble_scores, image_scores, patch_scores
from patchcore_ops.scoring.neighbours import Searcher, read_index
from patchcore_ops.stages.layout import (
    ANOMALY_MAPS,
    IMAGES,
    INDEX,
    SCORES,
    TEST_EMBEDDINGS,
    member_folders,
    read_images,
    read_scores,
    test_rows,
)
from patchcore_ops.stages.raw_embeddings import Grid

_IMAGES_PER_SEARCH = 4


@dataclass(frozen=True)
class Predictions:
    """What the search gave.

    Attributes
    ----------
    table : DataFrame
        One row per image, as `layout.read_scores` reads it: `path`, `label`, `is_anomaly`, `score`,
        each member's own score as `score_<member>`, and what tells which image that was.
    proven_share : float or None
        Share of the patches whose neighbours were verified by bounds, without a flat scan; None
        where the index is not searched by bounds.
    """

    table: pd.DataFrame
    proven_share: float | None


def predict(
    embeddings: Path,
    indices: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
) -> Predictions:
    """Score the test images of a category.

    Parameters
    ----------
    embeddings, indices : Path
        Folders of the stages `embed` and `select`. The images are those that were embedded.
    config : CategoryConfig
        Scoring section, image size and number of members.
    runtime : RuntimeSection
        FAISS threads and GPU.
    folder : Path
        Receives `scores.parquet`, `anomaly_maps.npy` and `images.parquet`, the rows of the images.
    on_progress : callable, optional
        Called with (images searched, images to search) over all members.

    Returns
    -------
    Predictions
    """
    images = test_rows(read_images(embeddings))
    members = len(config.embedding.members)
    by_member: list[npt.NDArray[np.float32]] = []
    proven_shares: list[float] = []
    folders = zip(
        member_folders(embeddings, members), member_folders(indices, members), strict=True
    )
    for member, (of_embeddings, of_index) in enumerate(folders):
        grid = Grid.read(of_embeddings)
        index = read_index(of_index / INDEX)
        searcher = Searcher(index, config.index, runtime)
        by_member.append(
            _search_images(
                searcher,
                ArrayFile(of_embeddings / TEST_EMBEDDINGS),
                grid,
                config.scoring.anomaly_scorer_num_nn,
                None
                if on_progress is None
                else _offset(on_progress, member * len(images), members * len(images)),
            )
        )
        if searcher.proven_share is not None:
            proven_shares.append(searcher.proven_share)
    member_scores = [image_scores(scores) for scores in by_member]
    predictions = images[["path", "label", "is_anomaly"]].reset_index(drop=True)
    predictions["score"] = ensemble_scores(member_scores)
    for member, scores in enumerate(member_scores):
        predictions[f"score_{member}"] = scores
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(folder / SCORES, index=False)
    images.to_parquet(folder / IMAGES, index=False)
    side = config.dataset.imagesize
    with ArrayWriter(folder / ANOMALY_MAPS, (len(images), side, side)) as writer:
        for maps in ensemble_maps(by_member, side, config.scoring.smoothing_sigma):
            writer.append(maps)
    return Predictions(read_scores(folder), min(proven_shares, default=None))


def _search_images(
    searcher: Searcher,
    embeddings: ArrayFile,
    grid: Grid,
    neighbours: int,
    on_progress: Progress | None,
) -> npt.NDArray[np.float32]:
    """Score every patch, some images at a time; shape [images, h, w]."""
    scores = np.empty((grid.test_images, grid.height, grid.width), dtype=np.float32)
    for start in range(0, grid.test_images, _IMAGES_PER_SEARCH):
        stop = min(start + _IMAGES_PER_SEARCH, grid.test_images)
        queries = embeddings.read(start * grid.patches, stop * grid.patches)
        distances, _ = searcher.search(queries, neighbours)
        scores[start:stop] = patch_scores(distances, stop - start, (grid.height, grid.width))
        if on_progress is not None:
            on_progress(stop, grid.test_images)
    return scores


def _offset(on_progress: Progress, done_before: int, total: int) -> Progress:
    def report(done: int, _of_this_member: int) -> None:
        on_progress(done_before + done, total)

    return report
