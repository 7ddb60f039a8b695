"""Stage 1: every image of a category, train and test, through the backbones once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from patchcore_ops.arrays import ArrayWriter
from patchcore_ops.backbones import load_backbone, normalisation_of, weights_hash
from patchcore_ops.devices import resolve_device
from patchcore_ops.embedding import PatchEmbedder
from patchcore_ops.errors import WeightsError
from patchcore_ops.folding import fold_batch_norms
from patchcore_ops.images import iterate_batches
from patchcore_ops.progress import Progress
from patchcore_ops.sections import CategoryConfig, EmbeddingMember, RuntimeSection
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


@dataclass(frozen=True)
class _Network:
    """One backbone with every member that uses it."""

    mean: torch.Tensor
    std: torch.Tensor
    weights_sha256: str
    embedders: Mapping[int, PatchEmbedder]
    buffers: Mapping[int, torch.Tensor]

    def embed(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        normalised = (images.float() / 255 - self.mean) / self.std
        return {
            member: embedder.embed(normalised, out=self.buffers[member])[0]
            for member, embedder in self.embedders.items()
        }


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
    """
    networks = _load_networks(config, runtime)
    grids = _grids(networks, config, len(train), len(test))
    done = 0
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
            for images in iterate_batches(
                paths, config.dataset, runtime.batch_size, runtime.num_workers
            ):
                _embed_batch(images, networks, config, writers)
                done += len(images)
                if on_progress is not None:
                    on_progress(done, len(train) + len(test))
    for member, grid in enumerate(grids):
        (member_folder(folder, member) / GRID).write_text(
            json.dumps(asdict(grid), indent=2) + "\n", encoding="utf-8"
        )
    return grids


def _embed_batch(
    images: torch.Tensor,
    networks: Sequence[_Network],
    config: CategoryConfig,
    writers: Sequence[ArrayWriter],
) -> None:
    for network in networks:
        for member, embeddings in network.embed(images.to(network.mean.device)).items():
            # The sum is finite only if all are, and is much cheaper than looking at each.
            if not bool(embeddings.sum().isfinite()):
                backbone = config.embedding.members[member].backbone
                raise WeightsError(
                    f"{backbone}: its features are not finite for some image; the weights are "
                    "damaged or do not belong to this network"
                )
            writers[member].append(embeddings.cpu().numpy())


def _load_networks(config: CategoryConfig, runtime: RuntimeSection) -> list[_Network]:
    """Load each distinct backbone once, with an embedder for each member that uses it."""
    device = resolve_device(runtime.device)
    members_of: dict[tuple[str, str | None], list[int]] = {}
    for position, member in enumerate(config.embedding.members):
        members_of.setdefault((member.backbone, member.weights), []).append(position)
    networks = []
    for (name, weights), positions in members_of.items():
        backbone = load_backbone(name, weights)
        sha256 = weights_hash(backbone)
        side = config.dataset.imagesize
        fold_batch_norms(backbone, torch.zeros(1, 3, side, side))
        mean, std = (value.to(device) for value in normalisation_of(backbone))
        backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        embedders = {
            position: _embedder(backbone, config, config.embedding.members[position])
            for position in positions
        }
        buffers = {
            position: embedder.buffer(runtime.batch_size)
            for position, embedder in embedders.items()
        }
        networks.append(_Network(mean, std, sha256, embedders, buffers))
    return networks


def _embedder(
    backbone: torch.nn.Module, config: CategoryConfig, member: EmbeddingMember
) -> PatchEmbedder:
    return PatchEmbedder(
        backbone,
        member.layers,
        config.dataset.imagesize,
        config.embedding.pretrain_embed_dimension,
        config.embedding.target_embed_dimension,
        config.embedding.patchsize,
    )


def _grids(
    networks: Sequence[_Network], config: CategoryConfig, train_images: int, test_images: int
) -> list[Grid]:
    network_of = {member: network for network in networks for member in network.embedders}
    return [
        Grid(
            *network_of[member].embedders[member].grid,
            dimension=config.embedding.target_embed_dimension,
            train_images=train_images,
            test_images=test_images,
            weights_sha256=network_of[member].weights_sha256,
        )
        for member in range(len(network_of))
    ]
