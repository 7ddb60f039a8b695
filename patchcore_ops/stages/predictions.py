"""The stage `test_predictions`: scores and anomaly maps of the test images, by search.

`search_images` may have searched for parts of the images elsewhere; `predict` does it all here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.crop import insides_of
from patchcore_ops.runtime.arrays import ArrayWriter
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.scoring.ensemble import UNSCALED, MemberScales, score_images
from patchcore_ops.scoring.maps import extent, image_scores, map_extents
from patchcore_ops.stages import layout
from patchcore_ops.stages.patch_scores import (
    Searched,
    read_patch_scores,
    search_images,
)


@dataclass(frozen=True)
class Predictions:
    """The result of the search."""

    table: pd.DataFrame  # see `layout.read_scores`; `score_<member>` is a member's own score
    proven_share: float | None  # of the patches, by bounds alone; None if no bounds were used


def read_scales(folder: Path) -> MemberScales:
    """Read `ranges.json`: by what the members were scaled."""
    return MemberScales.model_validate_json((folder / layout.RANGES).read_bytes())


def predict(
    embeddings: Path,
    indices: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
    units: Sequence[float] = (),
) -> Predictions:
    """Score the test images of a category, those that were embedded.

    Writes `scores.parquet`, `anomaly_maps.npy`, `ranges.json` and `images.parquet`, the rows of the
    images. `units` are those of `member_units`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = range(len(layout.test_rows(layout.read_images(embeddings))))
    with TemporaryDirectory(prefix="patch_scores-", dir=folder) as name:
        part = Path(name)
        search_images(embeddings, indices, config, runtime, images, part, on_progress)
        return assemble_predictions(embeddings, [part], config, folder, units)


def assemble_predictions(
    embeddings: Path,
    parts: Sequence[Path],
    config: CategoryConfig,
    folder: Path,
    units: Sequence[float] = (),
) -> Predictions:
    """Write what `predict` writes, from what `search_images` has written of parts of the images.

    The folders `parts` are in the order of their images, together all that are embedded. Memory
    holds the patch scores of all images, some KB each; maps are written as they are made. Raises
    ValueError if the parts are not those of the embeddings, or units are missing.
    """
    if bool(units) != config.members_have_units:
        raise ValueError(f"{folder}: {config.scoring.ensemble} and units {units}")
    images = layout.test_rows(layout.read_images(embeddings))
    members = range(len(config.embedding.members))
    searched = [[Searched.read(part, member) for part in parts] for member in members]
    for of_parts in searched:
        ends = [0, *(one.stop for one in of_parts)]
        if [one.first for one in of_parts] != ends[:-1] or ends[-1] != len(images):
            raise ValueError(f"{folder}: {of_parts} are not all {len(images)} images in order")
    by_member = [read_patch_scores(parts, member) for member in members]
    if units:
        scales = MemberScales.by_units(units)
    else:
        scales = ranges_over(by_member, images, config) if len(members) > 1 else UNSCALED
    write_predictions(images, by_member, scales, config, folder)
    shares = [_proven_share(of_parts) for of_parts in searched]
    return Predictions(
        layout.read_scores(folder), min((one for one in shares if one is not None), default=None)
    )


def _proven_share(parts: Sequence[Searched]) -> float | None:
    """Return the share of all patches; None if bounds were not used for all parts."""
    proven = [part.proven for part in parts if part.proven is not None]
    if len(proven) < len(parts):
        return None
    patches = sum(part.patches for part in parts)
    return sum(proven) / patches if patches else 1.0


def write_predictions(
    images: pd.DataFrame,
    by_member: Sequence[npt.NDArray[np.float32]],
    scales: MemberScales,
    config: CategoryConfig,
    folder: Path,
) -> None:
    """Write scores and maps of test images, from the members' patch scores, shape [n, h, w]."""
    size = config.dataset.crop_size
    found = score_images(
        by_member, scales, config.scoring, size, insides_of(images, config.dataset)
    )
    predictions = images[["path", "label", "is_anomaly"]].reset_index(drop=True)
    predictions["score"] = found.scores
    for member, scores in enumerate(found.of_members):
        predictions[f"score_{member}"] = scores
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(folder / layout.SCORES, index=False)
    images.to_parquet(folder / layout.IMAGES, index=False)
    text = scales.model_dump_json(exclude_defaults=True) + "\n"
    (folder / layout.RANGES).write_text(text, encoding="utf-8")
    with ArrayWriter(folder / layout.ANOMALY_MAPS, (len(images), *size)) as writer:
        for maps in found.maps:
            writer.append(maps)


def ranges_over(
    by_member: Sequence[npt.NDArray[np.float32]], images: pd.DataFrame, config: CategoryConfig
) -> MemberScales:
    """Return the ranges of the members over images, rows of a manifest, from their patch scores."""
    insides = insides_of(images, config.dataset)
    size, scoring = config.dataset.crop_size, config.scoring
    return MemberScales(
        scores=tuple(extent(image_scores(scores, scoring, size, insides)) for scores in by_member),
        maps=tuple(map_extents(by_member, size, scoring.smoothing_sigma, insides)),
    )
