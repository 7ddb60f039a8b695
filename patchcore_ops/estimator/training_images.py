"""Images of any form as the embeddings of a category that has only train images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.ensemble import open_networks
from patchcore_ops.embedding.exported_network import NetworkStore
from patchcore_ops.model.pixels import AnyImage, NamedImage, ahead, named, pixels_of
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.scoring.padding import Insides
from patchcore_ops.stages import layout
from patchcore_ops.stages.raw_embeddings import Target, made_by


class EmbeddedImages(NamedTuple):
    """How many images were embedded, and the identity of each member's exported network.

    `insides` is that of `padding`, for images that are padded.
    """

    images: int
    identities: list[str]
    insides: Insides | None


def images_in(images: AnyImage | Iterable[AnyImage]) -> Any:
    """Return images as they are; of a folder, the image files in it, by name.

    Raises DatasetError if a folder has none.
    """
    if isinstance(images, str | os.PathLike) and Path(images).is_dir():
        found = sorted(
            path
            for path in Path(images).iterdir()
            if path.name[0] != "." and path.suffix.lower() in IMAGE_EXTENSIONS
        )
        if not found:
            raise DatasetError(f"{images}: holds no image; name a folder of images of one product")
        return found
    return images


def listed(images: AnyImage | Iterable[AnyImage]) -> list[AnyImage]:
    """List images, or those of a folder, so that they can be gone through several times.

    Raises DatasetError if one cannot be read, or a folder has none.
    """
    found = []
    for one in named(images_in(images)):
        if isinstance(one.image, DatasetError):
            raise one.image
        found.append(one.image)
    return found


def embed_training_images(
    images: Sequence[AnyImage],
    config: CategoryConfig,
    runtime: RuntimeSection,
    networks: NetworkStore,
    folder: Path,
) -> EmbeddedImages:
    """Embed images, and write what `raw_embeddings` writes of train images: arrays and grids."""
    opened = open_networks(config, runtime, networks)
    made = made_by(opened, len(images), 0)
    with ExitStack() as stack:
        target = Target(folder, "train", made.grids, config.embedding.storage)
        writers = target.writers(len(images), stack)
        crops: list[Crop] = []
        batches = _batches(images, config, runtime, crops)
        for embedded in stack.enter_context(closing(opened.embed_all(batches))):
            for writer, rows in zip(writers, embedded, strict=True):
                writer.append(rows)
    for member, grid in enumerate(made.grids):
        grid.write(layout.member_folder(folder, member))
    insides = np.array([crop.inside for crop in crops]) if config.dataset.fit == "pad" else None
    return EmbeddedImages(len(images), made.networks, insides)


def _batches(
    images: Sequence[AnyImage],
    config: CategoryConfig,
    runtime: RuntimeSection,
    crops: list[Crop],
) -> Iterator[tuple[Pixels, list[object]]]:
    def load(one: NamedImage) -> tuple[str, Pixels, Crop]:
        return one.name, *pixels_of(one, config.dataset)

    for name, pixels, crop in ahead(load, named(images), max(runtime.num_workers, 1)):
        crops.append(crop)
        yield pixels[None], [name]
