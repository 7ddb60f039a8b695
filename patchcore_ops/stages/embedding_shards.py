"""The stage `raw_embeddings` in shards: some of the images at a time, each shard by itself.

A shard has the files that `embed_images` writes for its images. Together they are the embeddings of
all: `embeddings-00000.npy`, `embeddings-00001.npy`, ... instead of one `embeddings.npy`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.embedding.exported_network import NetworkStore
from patchcore_ops.runtime.rows import even_bounds, part_file
from patchcore_ops.stages import layout
from patchcore_ops.stages.earlier_rows import FILES
from patchcore_ops.stages.raw_embeddings import Embedded, Grid, embed_images

MADE_BY = "made_by.json"


def image_shards(images: pd.DataFrame, images_per_shard: int) -> list[pd.DataFrame]:
    """Divide the rows of a manifest into shards of one split, as even as they can be, in order."""
    shards: list[pd.DataFrame] = []
    for split in FILES:
        rows = images[images["split"] == split]
        count = max(-(-len(rows) // images_per_shard), 1)
        bounds = even_bounds(len(rows), count)
        shards.extend(rows.iloc[start:stop] for start, stop in pairwise(bounds))
    return shards


def embed_shard(
    images: pd.DataFrame,
    dataset_root: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    all_train_images: int,
    _reads: Sequence[Path],
    folder: Path,
    networks: NetworkStore,
) -> None:
    """Embed the images of a shard; also write how they were computed, `made_by.json`."""
    embedded = embed_images(
        images,
        dataset_root,
        config,
        runtime,
        folder,
        networks=networks,
        all_train_images=all_train_images,
    )
    made_by = {
        "engines": embedded.engines,
        "networks": embedded.networks,
        "fallbacks": embedded.fallbacks,
    }
    (folder / MADE_BY).write_text(json.dumps(made_by) + "\n", encoding="utf-8")


def join_shards(
    images: pd.DataFrame,
    shards: Sequence[Path],
    members: int,
    folder: Path,
    share: Callable[[Path, str], None],
) -> Embedded:
    """Make the folders of all shards into one; `share` puts a file into it by its new name."""
    rows = pd.concat([layout.read_images(shard) for shard in shards])
    rows = images[["path"]].merge(rows, on="path", how="left", validate="one_to_one")
    rows.to_parquet(folder / layout.IMAGES, index=False)
    grids = [_join_member(shards, str(member), folder, share) for member in range(members)]
    made_by = [json.loads((shard / MADE_BY).read_text(encoding="utf-8")) for shard in shards]

    def of_members(key: str) -> list[str]:
        by_member = zip(*(one[key] for one in made_by), strict=True)
        return [" and ".join(dict.fromkeys(filter(None, values))) for values in by_member]

    return Embedded(
        grids, rows, of_members("engines"), of_members("networks"), of_members("fallbacks")
    )


def _join_member(
    shards: Sequence[Path], member: str, folder: Path, share: Callable[[Path, str], None]
) -> Grid:
    grids = [Grid.read(shard / member) for shard in shards]
    train, test = (sum(getattr(one, f"{split}_images") for one in grids) for split in FILES)
    for split, file in FILES.items():
        of_split = [
            shard / member / file
            for shard, grid in zip(shards, grids, strict=True)
            if getattr(grid, f"{split}_images")
        ]
        for number, source in enumerate(of_split or [shards[0] / member / file]):
            name = part_file(Path(file), number).name if len(of_split) > 1 else file
            share(source, f"{member}/{name}")
    whole = replace(grids[0], train_images=train, test_images=test)
    whole.write(folder / member)
    return whole
