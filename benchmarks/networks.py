"""The networks of a workload: as the torch engine has them, and exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.workloads import Workload

if TYPE_CHECKING:
    import torch

    from patchcore_ops.embedding import PatchEmbedder
    from patchcore_ops.embedding.exported_network import NetworkSettings


class NetworksInFolder:
    """Keeps exported networks for one benchmark after the other; see `NetworkStore`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """Open a network's folder, which is made first where there is none."""
        folder = self._root / settings.identity
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
        yield folder

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        """Open a network's folder; None if it is not kept."""
        folder = self._root / identity
        yield folder if folder.exists() else None


def embedder_of(workload: Workload) -> PatchEmbedder:
    """Load a backbone with its pooling."""
    from patchcore_ops.backbones import load_backbone
    from patchcore_ops.embedding import PatchEmbedder

    config = workload.config()
    side = config.dataset.imagesize
    backbone = load_backbone(workload.network.name, workload.weights)
    layers = list(workload.network.layers)
    return PatchEmbedder(
        backbone,
        layers,
        side,
        config.embedding.pretrain_embed_dimension,
        config.embedding.target_embed_dimension,
        config.embedding.patchsize,
    )


def literal_pooling(
    features: list[torch.Tensor], patchsize: int, pretrain_dimension: int, target_dimension: int
) -> torch.Tensor:
    """Pool as the paper writes it: unfold, resize every map, pool each layer, pool the layers.

    Parameters
    ----------
    features : list of Tensor, shape [B, C, h, w]
        One per layer; the first sets the grid.
    patchsize : int
    pretrain_dimension, target_dimension : int

    Returns
    -------
    Tensor, shape [B * h * w, target_dimension]
    """
    import torch
    import torch.nn.functional as F

    batch, _, height, width = features[0].shape
    pooled = []
    for maps in features:
        patches = F.unfold(maps, patchsize, padding=patchsize // 2)
        patches = patches.reshape(batch, -1, *maps.shape[2:])
        if patches.shape[2:] != (height, width):
            patches = F.interpolate(patches, (height, width), mode="bilinear")
        rows = patches.permute(0, 2, 3, 1).reshape(batch * height * width, 1, -1)
        pooled.append(F.adaptive_avg_pool1d(rows, pretrain_dimension))
    stacked = torch.cat(pooled, dim=2)
    return F.adaptive_avg_pool1d(stacked, target_dimension).squeeze(1)
