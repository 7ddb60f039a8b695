"""Stage 1: every image of a category, train and test, through the backbones once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.image_stream import ImageStream, Pixels
from patchcore_ops.dataset.manifest import image_files
from patchcore_ops.dataset.recorded_files import unchanged
from patchcore_ops.embedding.exported_network import NetworkStore
from patchcore_ops.runtime.arrays import ArrayWriter
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages.layout import (
    GRID,
    IMAGES,
    TEST_EMBEDDINGS,
    TRAIN_EMBEDDINGS,
    member_folder,
    recorded_images,
)


@dataclass(frozen=True)
class Grid:
    """What `grid.json` holds: the shape of one member's embeddings, and their weights.

    Attributes
    ----------
    height, width : int
        Patches of an image.
    dimension : int
        Length of an embedding.
    train_images, test_images : int
    weights_sha256 : str
        Of the backbone as it was loaded, see `backbones.weights_hash`.
    """

    height: int
    width: int
    dimension: int
    train_images: int
    test_images: int
    weights_sha256: str = ""

    @property
    def patches(self) -> int:
        """Patches per image."""
        return self.height * self.width

    @staticmethod
    def read(folder: Path) -> Grid:
        """Read a member's `grid.json`."""
        return Grid(**json.loads((folder / GRID).read_text(encoding="utf-8")))


class Embedded(NamedTuple):
    """What was embedded.

    Attributes
    ----------
    grids : list of Grid
        The shape of each member's embeddings.
    images : DataFrame
        The rows of the images.
    engines : list of str
        The library that computed each member, and its version.
    networks : list of str
        Identity of each member's exported network; empty where it was not one.
    fallbacks : list of str
        Why torch computed a member although OpenVINO was wanted; empty where it was not so.
    """

    grids: list[Grid]
    images: pd.DataFrame
    engines: list[str]
    networks: list[str]
    fallbacks: list[str]


def embed_images(
    images: pd.DataFrame,
    dataset_root: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
    hash_of: HashOf = file_hash,
    networks: NetworkStore | None = None,
) -> Embedded:
    """Embed all images of a category for every ensemble member.

    Images are decoded once and streamed through all members; memory depends on the batch size, not
    on the number of images.

    Parameters
    ----------
    images : DataFrame
        The manifest.
    dataset_root : Path
        Where the manifest's paths begin.
    config : CategoryConfig
        Image size and embedding members.
    runtime : RuntimeSection
        Device, batch size and workers.
    folder : Path
        Receives `<member>/embeddings.npy`, `<member>/test_embeddings.npy`, `<member>/grid.json`,
        and `images.parquet`: the manifest with the column `pixels`, a hash of each image's crop.
    on_progress : callable, optional
        Called with (images so far, all images) after each batch.
    hash_of : callable
        Gives a file's SHA-256, by which images that have changed since are found.
    networks : NetworkStore, optional
        Where exported networks are kept; by default they are made for this use alone.

    Returns
    -------
    Embedded

    Raises
    ------
    DatasetError, WeightsError, EnvironmentProblem
        If an image, a backbone or the device cannot be used, the network yields NaN, or an image
        is not the one that the manifest describes.
    ConfigError
        If a later stage cannot succeed with so many embeddings, see `foresight.foresee`.
    """
    train, test = (image_files(images, split, dataset_root) for split in ("train", "test"))
    done = 0
    pixels: dict[Path, str] = {}

    def keep_hash(path: Path, image: Pixels) -> None:
        pixels[path] = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()

    recorded = recorded_images(images, dataset_root)
    with (
        unchanged(recorded, "image_manifest", hash_of),
        ImageStream([*train, *test], config.dataset, runtime.num_workers, keep_hash) as stream,
    ):
        # Opening the networks takes a while, in which images are decoded already.
        from patchcore_ops.embedding.ensemble import Networks
        from patchcore_ops.stages.early_refusals import foresee

        opened = Networks(config, runtime, networks, hash_of)
        grids = [
            Grid(*engine.grid, opened.dimension, len(train), len(test), engine.weights_sha256)
            for engine in opened.engines
        ]
        foresee(config, [len(train) * grid.patches for grid in grids])
        for paths, file in ((train, TRAIN_EMBEDDINGS), (test, TEST_EMBEDDINGS)):
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(
                        ArrayWriter(
                            member_folder(folder, member) / file,
                            (len(paths) * grid.patches, grid.dimension),
                        )
                    )
                    for member, grid in enumerate(grids)
                ]
                batches = _named_batches(stream, paths, opened.batch_size)
                for embedded in stack.enter_context(closing(opened.embed_all(batches))):
                    for writer, embeddings in zip(writers, embedded, strict=True):
                        writer.append(embeddings)
                    done += len(embedded[0]) // grids[0].patches
                    if on_progress is not None:
                        on_progress(done, len(train) + len(test))
    rows = images.assign(pixels=[pixels[dataset_root / path] for path in images["path"]])
    rows.to_parquet(folder / IMAGES, index=False)
    for member, grid in enumerate(grids):
        (member_folder(folder, member) / GRID).write_text(
            json.dumps(asdict(grid), indent=2) + "\n", encoding="utf-8"
        )
    return Embedded(
        grids,
        rows,
        [engine.name for engine in opened.engines],
        [engine.network for engine in opened.engines],
        opened.fallbacks,
    )


def _named_batches(
    stream: ImageStream, paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[Pixels, Sequence[Path]]]:
    """Hand out the next images with the names of their files."""
    start = 0
    for images in stream.batches(len(paths), batch_size):
        yield images, paths[start : start + len(images)]
        start += len(images)
