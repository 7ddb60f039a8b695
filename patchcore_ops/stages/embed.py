"""Stage 1: every image of a category, train and test, through the backbones once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

from patchcore_ops.arrays import ArrayWriter
from patchcore_ops.image_stream import ImageStream, Pixels
from patchcore_ops.progress import Progress
from patchcore_ops.sections import CategoryConfig, RuntimeSection
from patchcore_ops.stages.layout import GRID, TEST_EMBEDDINGS, TRAIN_EMBEDDINGS, member_folder


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


def embed_images(
    train: Sequence[Path],
    test: Sequence[Path],
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
) -> list[Grid]:
    """Embed all images of a category for every ensemble member.

    Images are decoded once and streamed through all members; memory depends on the batch size, not
    on the number of images.

    Parameters
    ----------
    train, test : sequence of Path
        Image files, in manifest order.
    config : CategoryConfig
        Image size and embedding members.
    runtime : RuntimeSection
        Device, batch size and workers.
    folder : Path
        Receives `<member>/embeddings.npy`, `<member>/test_embeddings.npy`, `<member>/grid.json`.
    on_progress : callable, optional
        Called with (images so far, all images) after each batch.

    Returns
    -------
    list of Grid
        One per member.

    Raises
    ------
    DatasetError, WeightsError, EnvironmentProblem
        If an image, a backbone or the device cannot be used, or the network yields NaN.
    ConfigError
        If a later stage cannot succeed with so many embeddings, see `foresight.foresee`.
    """
    done = 0
    with ImageStream([*train, *test], config.dataset, runtime.num_workers) as stream:
        # Importing torch and the network takes seconds, in which images are decoded already.
        from patchcore_ops.stages.foresight import foresee
        from patchcore_ops.stages.networks import Networks

        networks = Networks(config, runtime)
        foresee(config, [len(train) * height * width for height, width in networks.grids])
        grids = [
            Grid(*shape, networks.dimension, len(train), len(test), weights)
            for shape, weights in zip(networks.grids, networks.weights_sha256, strict=True)
        ]
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
                batches = _named_batches(stream, paths, networks.batch_size)
                for embedded in stack.enter_context(closing(networks.embed_side_by_side(batches))):
                    for writer, embeddings in zip(writers, embedded, strict=True):
                        writer.append(embeddings)
                    done += len(embedded[0]) // grids[0].patches
                    if on_progress is not None:
                        on_progress(done, len(train) + len(test))
    for member, grid in enumerate(grids):
        (member_folder(folder, member) / GRID).write_text(
            json.dumps(asdict(grid), indent=2) + "\n", encoding="utf-8"
        )
    return grids


def _named_batches(
    stream: ImageStream, paths: Sequence[Path], batch_size: int
) -> Iterator[tuple[Pixels, Sequence[Path]]]:
    """Hand out the next images of the stream, each batch with the names of its files."""
    start = 0
    for images in stream.batches(len(paths), batch_size):
        yield images, paths[start : start + len(images)]
        start += len(images)
