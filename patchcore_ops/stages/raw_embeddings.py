"""The stage `raw_embeddings`: train and test images, through the backbones once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection, StoredPrecision
from patchcore_ops.dataset.image_stream import ImageStream, Pixels
from patchcore_ops.dataset.manifest import image_files
from patchcore_ops.dataset.recorded_files import unchanged
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.exported_network import NetworkStore
from patchcore_ops.runtime.arrays import ArrayWriter
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages import layout

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Grid:
    """Contents of `grid.json`: the shape of one member's embeddings, and its weights."""

    height: int  # in patches
    width: int
    dimension: int
    train_images: int
    test_images: int
    weights_sha256: str = ""

    @property
    def patches(self) -> int:
        """Patches per image."""
        return self.height * self.width

    def write(self, folder: Path) -> None:
        """Write a member's `grid.json`."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / layout.GRID).write_text(text, encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> Grid:
        """Read a member's `grid.json`."""
        return Grid(**json.loads((folder / layout.GRID).read_text(encoding="utf-8")))


class Embedded(NamedTuple):
    """The embedded images, and for each member how it was computed."""

    grids: list[Grid]
    images: pd.DataFrame
    engines: list[str]  # library and version
    networks: list[str]  # identity of the exported network, or empty
    fallbacks: list[str]  # why torch replaced OpenVINO, or empty


def embed_images(
    images: pd.DataFrame,
    dataset_root: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
    hash_of: HashOf = file_hash,
    networks: NetworkStore | None = None,
    all_train_images: int | None = None,
) -> Embedded:
    """Embed all images of a category; each is decoded once for all members.

    Writes each member's `embeddings.npy`, `test_embeddings.npy` and `grid.json`, and
    `images.parquet`: the manifest with `pixels`, a hash of each crop. Memory depends on the batch
    size, not on the number of images. `networks` keeps exported networks, by default only for this
    call. `all_train_images` counts those of the whole category, where these are a shard.

    Raises ConfigError if a later stage cannot succeed, see `early_refusals`, or the embeddings do
    not fit their storage; otherwise errors that name the image, backbone or device.
    """
    train, test = (image_files(images, split, dataset_root) for split in ("train", "test"))
    done = 0
    pixels: dict[Path, str] = {}

    def keep_hash(path: Path, image: Pixels) -> None:
        pixels[path] = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()

    recorded = layout.recorded_images(images, dataset_root)
    with (
        unchanged(recorded, "image_manifest", hash_of),
        ImageStream([*train, *test], config.dataset, runtime.num_workers, keep_hash) as stream,
    ):
        # Opening the networks takes a while, in which images are decoded already.
        from patchcore_ops.embedding.ensemble import open_networks
        from patchcore_ops.stages.early_refusals import foresee

        opened = open_networks(config, runtime, networks, hash_of)
        grids = [
            Grid(*engine.grid, opened.dimension, len(train), len(test), engine.weights_sha256)
            for engine in opened.engines
        ]
        all_train = len(train) if all_train_images is None else all_train_images
        foresee(config, [all_train * grid.patches for grid in grids], all_train)
        for paths, file in ((train, layout.TRAIN_EMBEDDINGS), (test, layout.TEST_EMBEDDINGS)):
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(
                        ArrayWriter(
                            layout.member_folder(folder, member) / file,
                            (len(paths) * grid.patches, grid.dimension),
                            config.embedding.storage,
                        )
                    )
                    for member, grid in enumerate(grids)
                ]
                batches = _named_batches(stream, paths, opened.batch_size)
                for embedded in stack.enter_context(closing(opened.embed_all(batches))):
                    for writer, embeddings in zip(writers, embedded, strict=True):
                        writer.append(_storable(embeddings, config.embedding.storage))
                    done += len(embedded[0]) // grids[0].patches
                    if on_progress is not None:
                        on_progress(done, len(train) + len(test))
    rows = images.assign(pixels=[pixels[dataset_root / path] for path in images["path"]])
    rows.to_parquet(folder / layout.IMAGES, index=False)
    for member, grid in enumerate(grids):
        grid.write(layout.member_folder(folder, member))
    return Embedded(
        grids,
        rows,
        [engine.name for engine in opened.engines],
        [engine.network for engine in opened.engines],
        list(opened.fallbacks),
    )


def _storable(embeddings: Embeddings, storage: StoredPrecision) -> Embeddings:
    """Refuse embeddings that are too large for the format in which they are kept."""
    if storage == "float16" and (largest := float(np.abs(embeddings).max(initial=0))) > _LARGEST:
        raise ConfigError(
            f"embedding.storage: float16 holds values up to {_LARGEST:,.0f}, but an embedding has "
            f"{largest:,.0f}; use float32"
        )
    return embeddings


def _named_batches(
    stream: ImageStream, paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[Pixels, Sequence[Path]]]:
    """Yield batches with the paths of their images."""
    start = 0
    for images in stream.batches(len(paths), batch_size):
        yield images, paths[start : start + len(images)]
        start += len(images)
