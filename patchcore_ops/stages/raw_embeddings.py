"""The stage `raw_embeddings`: train and test images, through the backbones once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
from patchcore_ops.stages.earlier_rows import FILES, Earlier, Segment, segments_of

if TYPE_CHECKING:
    from patchcore_ops.embedding.ensemble import Networks

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


class MadeBy(NamedTuple):
    """For each member, the shape of its embeddings and how they were computed."""

    grids: list[Grid]
    engines: list[str]  # library and version
    networks: list[str]  # identity of the exported network, or empty
    fallbacks: list[str]  # why torch replaced OpenVINO, or empty


class Embedded(NamedTuple):
    """The embedded images, and for each member how it was computed; see `MadeBy`."""

    grids: list[Grid]
    images: pd.DataFrame
    engines: list[str]
    networks: list[str]
    fallbacks: list[str]
    taken_over: int = 0  # images whose rows are those of the version before


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
    earlier: Earlier | None = None,
) -> Embedded:
    """Embed all images of a category; each is decoded once for all members.

    Writes each member's `embeddings.npy`, `test_embeddings.npy` and `grid.json`, and
    `images.parquet`: the manifest with `pixels`, a hash of each crop. Memory depends on the batch
    size, not on the number of images. `networks` keeps exported networks, by default only for this
    call. `all_train_images` counts those of the whole category, where these are a shard. Images
    that `earlier` holds are not embedded again; where it holds all, no network is opened.

    Raises ConfigError if a later stage cannot succeed, see `early_refusals`, or the embeddings do
    not fit their storage; otherwise errors that name the image, backbone or device.
    """
    pixels = {} if earlier is None else dict(earlier.pixels)
    new = images[~images["fingerprint"].isin(pixels)]
    taken_over = len(images) - len(new)
    fingerprints = layout.recorded_images(images, dataset_root)

    def keep_hash(path: Path, image: Pixels) -> None:
        pixels[fingerprints[path]] = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()

    files = {split: image_files(new, split, dataset_root) for split in FILES}
    train, test = (int((images["split"] == split).sum()) for split in FILES)
    with (
        unchanged(fingerprints, "image_manifest", hash_of),
        ImageStream(
            [path for paths in files.values() for path in paths],
            config.dataset,
            runtime.num_workers,
            keep_hash,
        ) as stream,
    ):
        from patchcore_ops.stages.early_refusals import foresee

        opened = None
        made = None if earlier is None else _made_earlier(earlier, train, test)
        if made is None or len(new):
            # Opening the networks takes a while, in which images are decoded already.
            from patchcore_ops.embedding.ensemble import open_networks

            opened = open_networks(config, runtime, networks, hash_of)
            if made is not None and made != made_by(opened, train, test):
                # It shows only now: OpenVINO has failed, or other weights have been published.
                return embed_images(
                    images,
                    dataset_root,
                    config,
                    runtime,
                    folder,
                    on_progress,
                    hash_of,
                    networks,
                    all_train_images,
                )
            made = made_by(opened, train, test)
        all_train = train if all_train_images is None else all_train_images
        foresee(config, [(grid.height, grid.width) for grid in made.grids], all_train)
        done = 0
        for split, paths in files.items():
            target = Target(folder, split, made.grids, config.embedding.storage)
            segments = segments_of(images.loc[images["split"] == split, "fingerprint"], earlier)
            for written in _write(target, segments, earlier, stream, paths, opened):
                done += written
                if on_progress is not None:
                    on_progress(done, len(images))
    rows = images.assign(pixels=[pixels[digest] for digest in images["fingerprint"]])
    rows.to_parquet(folder / layout.IMAGES, index=False)
    for member, grid in enumerate(made.grids):
        grid.write(layout.member_folder(folder, member))
    return Embedded(made.grids, rows, made.engines, made.networks, made.fallbacks, taken_over)


def made_by(opened: Networks, train: int, test: int) -> MadeBy:
    """Describe what opened networks will make of so many images."""
    return MadeBy(
        [
            Grid(*engine.grid, opened.dimension, train, test, engine.weights_sha256)
            for engine in opened.engines
        ],
        [engine.name for engine in opened.engines],
        [engine.network for engine in opened.engines],
        list(opened.fallbacks),
    )


def _made_earlier(earlier: Earlier, train: int, test: int) -> MadeBy:
    """Describe what the networks of an earlier version would make of so many images."""
    folders = layout.member_folders(earlier.folder, len(earlier.engines))
    grids = [replace(Grid.read(folder), train_images=train, test_images=test) for folder in folders]
    return MadeBy(grids, [*earlier.engines], [*earlier.networks], [""] * len(grids))


class Target(NamedTuple):
    """The files of one split that are written, one for each member."""

    folder: Path
    split: str
    grids: Sequence[Grid]
    storage: StoredPrecision

    def writers(self, images: int, stack: ExitStack) -> list[ArrayWriter]:
        """Open the files for the rows of so many images."""
        return [
            stack.enter_context(
                ArrayWriter(
                    layout.member_folder(self.folder, member) / FILES[self.split],
                    (images * grid.patches, grid.dimension),
                    self.storage,
                )
            )
            for member, grid in enumerate(self.grids)
        ]


def _write(
    target: Target,
    segments: Sequence[Segment],
    earlier: Earlier | None,
    stream: ImageStream,
    new: Sequence[Path],
    opened: Networks | None,
) -> Iterator[int]:
    """Write the rows of one split, in order; yield how many images are done with each step."""
    images = sum(segment.images for segment in segments)
    if earlier is not None and earlier.has_just(target.split, segments):
        earlier.share_all(target.split)
        yield images
        return
    with ExitStack() as stack:
        writers = target.writers(images, stack)
        embedded: Iterator[list[Embeddings]] = iter(())
        if opened is not None:
            sizes = [segment.images for segment in segments if segment.first is None]
            batches = _named_batches(stream, new, sizes, opened.batch_size)
            embedded = stack.enter_context(closing(opened.embed_all(batches)))
        for segment in segments:
            if earlier is not None and segment.first is not None:
                for member, (writer, grid) in enumerate(zip(writers, target.grids, strict=True)):
                    for block in earlier.blocks(member, segment, grid.patches):
                        writer.append(block)
                yield segment.images
                continue
            left = segment.images
            while left:
                rows = next(embedded)
                for writer, embeddings in zip(writers, rows, strict=True):
                    writer.append(_storable(embeddings, target.storage))
                count = len(rows[0]) // target.grids[0].patches
                left -= count
                yield count


def _storable(embeddings: Embeddings, storage: StoredPrecision) -> Embeddings:
    """Refuse embeddings that are too large for the format in which they are kept."""
    if storage == "float16" and (largest := float(np.abs(embeddings).max(initial=0))) > _LARGEST:
        raise ConfigError(
            f"embedding.storage: float16 holds values up to {_LARGEST:,.0f}, but an embedding has "
            f"{largest:,.0f}; use float32"
        )
    return embeddings


def _named_batches(
    stream: ImageStream, paths: Sequence[Path], sizes: Sequence[int], batch_size: int
) -> Iterator[tuple[Pixels, Sequence[Path]]]:
    """Yield batches with the paths of their images; none goes beyond a segment of such a size."""
    start = 0
    for size in sizes:
        for images in stream.batches(size, batch_size):
            yield images, paths[start : start + len(images)]
            start += len(images)
