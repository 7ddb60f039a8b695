"""The backbones of an ensemble, each loaded once, with the members that use it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from patchcore_ops.backbones import load_backbone, normalisation_of, weights_hash
from patchcore_ops.devices import resolve_device
from patchcore_ops.embedding import PatchEmbedder
from patchcore_ops.errors import WeightsError
from patchcore_ops.image_stream import Pixels
from patchcore_ops.inference import prepare_for_inference
from patchcore_ops.sections import CategoryConfig, RuntimeSection
from patchcore_ops.side_by_side import map_side_by_side

Embeddings = npt.NDArray[np.float32]
NamedBatch = tuple[Pixels, Sequence[object]]


@dataclass(frozen=True)
class _Network:
    """One backbone with the embedder of each member that uses it."""

    weights_sha256: str
    mean: torch.Tensor
    std: torch.Tensor
    embedders: Mapping[int, PatchEmbedder]


class Networks:
    """Everything that turns a batch of images into embeddings.

    Parameters
    ----------
    config : CategoryConfig
        Image size and embedding members.
    runtime : RuntimeSection
        Device and batch size.

    Attributes
    ----------
    grids : list of (int, int)
        Height and width of each member's patch grid.
    weights_sha256 : list of str
        Of each member's backbone as it was loaded, see `backbones.weights_hash`.
    dimension : int
        Length of an embedding.
    batch_size : int
        Images of a batch: what the runtime's batch leaves for each of the batches embedded at once.

    Raises
    ------
    WeightsError, EnvironmentProblem
        If a backbone or the device cannot be used.
    """

    def __init__(self, config: CategoryConfig, runtime: RuntimeSection) -> None:
        self._members = config.embedding.members
        self._device = resolve_device(runtime.device)
        # A GPU wants one large batch; a processor's core is busy with a small one.
        self._workers = torch.get_num_threads() if self._device.type == "cpu" else 1
        self.batch_size = -(-runtime.batch_size // self._workers)
        self._networks = self._load_all(config)
        self.dimension = config.embedding.target_embed_dimension
        network_of = {member: network for network in self._networks for member in network.embedders}
        members = range(len(self._members))
        self.grids = [network_of[member].embedders[member].grid for member in members]
        self.weights_sha256 = [network_of[member].weights_sha256 for member in members]

    def embed_side_by_side(self, batches: Iterable[NamedBatch]) -> Generator[list[Embeddings]]:
        """Embed batches, on a CPU as many at once as torch has threads.

        Parameters
        ----------
        batches : iterable of (images, names)
            As `embed` takes them, of `batch_size` images.

        Yields
        ------
        list of ndarray
            As `embed` returns them, in the order of the batches.
        """
        return map_side_by_side(lambda batch: self.embed(*batch), batches, self._workers)

    def embed(self, images: Pixels, names: Sequence[object] = ()) -> list[Embeddings]:
        """Embed a batch for every member; several threads may call it at once.

        Parameters
        ----------
        images : ndarray of uint8, shape [B, imagesize, imagesize, 3]
        names : sequence, optional
            What to call the images where something is wrong; by default their numbers.

        Returns
        -------
        list of ndarray of float32, shape [B * h * w, dimension]
            One per member.

        Raises
        ------
        WeightsError
            If the network yields NaN or infinity; the message names member, layer and image.
        """
        embedded: dict[int, Embeddings] = {}
        pixels = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float().div_(255)
        for network in self._networks:
            normalised = (pixels - network.mean) / network.std
            for member, embedder in network.embedders.items():
                features = embedder.features(normalised)
                # A sum is finite only if all are, and is much cheaper than looking at each.
                # Embeddings are averages of features, so these need no look of their own.
                if not all(bool(maps.sum().isfinite()) for maps in features):
                    self._refuse_what_is_not_finite(member, features, names)
                embedded[member] = embedder.pool(features)[0].cpu().numpy()
        return [embedded[member] for member in range(len(self._members))]

    def _refuse_what_is_not_finite(
        self,
        member: int,
        features: Sequence[torch.Tensor],
        names: Sequence[object],
    ) -> None:
        """Look for the first image and layer whose features are not finite; the sum may mislead."""
        settings = self._members[member]
        for layer, maps in zip(settings.layers, features, strict=True):
            wrong = (~maps.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
            if wrong:
                first = names[wrong[0]] if names else f"image {wrong[0]} of the batch"
                raise WeightsError(
                    f"embedding.members.{member}: layer '{layer}' of {settings.backbone} gives NaN "
                    f"or infinity for {first}"
                    + (f" and {len(wrong) - 1} more of its batch" if len(wrong) > 1 else "")
                    + "; the weights are damaged or do not belong to this network"
                )

    def _load_all(self, config: CategoryConfig) -> list[_Network]:
        """Load each backbone once; what is wrong with any of them is said together."""
        positions: dict[tuple[str, str | None], list[int]] = {}
        for position, member in enumerate(self._members):
            positions.setdefault((member.backbone, member.weights), []).append(position)
        networks: list[_Network] = []
        mistakes: list[str] = []
        for (name, weights), members in positions.items():
            try:
                networks.append(self._load(name, weights, members, config))
            except WeightsError as mistake:
                mistakes.append(f"embedding.members.{members[0]}: {mistake}")
        if mistakes:
            raise WeightsError("\n".join(mistakes))
        return networks

    def _load(
        self,
        name: str,
        weights: str | None,
        members: list[int],
        config: CategoryConfig,
    ) -> _Network:
        side = config.dataset.imagesize
        backbone = load_backbone(name, weights, side)
        sha256 = weights_hash(backbone)
        mean, std = (value.to(self._device) for value in normalisation_of(backbone))
        layers = dict.fromkeys(
            layer for member in members for layer in self._members[member].layers
        )
        with _image_size_suits(name, side):
            prepared = prepare_for_inference(
                backbone, list(layers), side, self._device, config.embedding.precision
            )
        embedders = {
            member: PatchEmbedder(
                prepared,
                self._members[member].layers,
                side,
                config.embedding.pretrain_embed_dimension,
                config.embedding.target_embed_dimension,
                config.embedding.patchsize,
            )
            for member in members
        }
        return _Network(sha256, mean, std, embedders)


@contextmanager
def _image_size_suits(name: str, side: int) -> Iterator[None]:
    """Say that a network does not take images of a size; it can only be found by trying."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"'{name}' cannot take images of {side} x {side} pixels ({reason}); change "
            "dataset.imagesize, or choose another backbone"
        ) from None
