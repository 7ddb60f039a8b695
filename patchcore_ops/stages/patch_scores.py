"""Patch scores of some of the test images: the part of `test_predictions` that takes long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.arrays import ArrayFile, save_array
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages import layout
from patchcore_ops.stages.index_search import Queries, scored_patches
from patchcore_ops.stages.raw_embeddings import Grid

Floats = npt.NDArray[np.float32]


class Searched(BaseModel, frozen=True):
    """Contents of `searched.json`: which test images were searched, and how it went."""

    first: int  # of the images
    stop: int
    patches: int  # how many these have
    proven: int | None  # for how many bounds alone have verified the neighbours; None without

    @staticmethod
    def read(part: Path, member: int) -> Searched:
        """Read a member's `searched.json` in the folder of a part."""
        file = layout.member_folder(part, member) / layout.SEARCHED
        return Searched.model_validate_json(file.read_bytes())


def search_images(
    embeddings: Path,
    indices: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    images: range,
    folder: Path,
    on_progress: Progress | None = None,
) -> None:
    """Score the patches of a range of the test images; results do not depend on the range.

    Writes each member's `patch_scores.npy`, float32 [images, h, w], and `searched.json`. Memory
    holds a block of the index (an approximate one as a whole) with its bounds, a batch of
    embeddings, and the distances of all patches of the range.
    """
    members = len(config.embedding.members)
    folders = zip(
        layout.member_folders(embeddings, members),
        layout.member_folders(indices, members),
        strict=True,
    )
    for member, (of_embeddings, of_index) in enumerate(folders):
        embedded = layout.test_embeddings(of_embeddings)
        queries = Queries(embedded, images, Grid.read(of_embeddings))
        scores, proven = scored_patches(member, of_index, queries, config, runtime, on_progress)
        target = layout.member_folder(folder, member)
        target.mkdir(parents=True, exist_ok=True)
        save_array(target / layout.PATCH_SCORES, scores)
        searched = Searched(
            first=images.start, stop=images.stop, patches=scores.size, proven=proven
        )
        (target / layout.SEARCHED).write_text(searched.model_dump_json() + "\n", encoding="utf-8")


def search_shard(
    config: CategoryConfig,
    runtime: RuntimeSection,
    images: range,
    reads: Sequence[Path],
    folder: Path,
    _networks: object = None,
) -> None:
    """Score a range of the test images, from the folders of `raw_embeddings` and `faiss_index`."""
    embeddings, indices = reads
    search_images(embeddings, indices, config, runtime, images, folder)


def read_patch_scores(parts: Sequence[Path], member: int) -> Floats:
    """Read a member's patch scores of all parts, shape [images, h, w]."""
    files = [ArrayFile(layout.member_folder(part, member) / layout.PATCH_SCORES) for part in parts]
    scores = np.empty((sum(map(len, files)), *files[0].shape[1:]), dtype=np.float32)
    start = 0
    for file in files:
        scores[start : start + len(file)] = file.read(0, len(file))
        start += len(file)
    return scores
