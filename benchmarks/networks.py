"""The backbone and the embedder of a workload, as the embedding stage prepares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.workloads import Workload

if TYPE_CHECKING:
    import torch

    from patchcore_ops.embedding import PatchEmbedder


def embedder_of(workload: Workload) -> PatchEmbedder:
    """Load a backbone, prepared as for embedding, with its pooling."""
    import torch

    from patchcore_ops.backbones import load_backbone
    from patchcore_ops.embedding import PatchEmbedder
    from patchcore_ops.inference import prepare_for_inference

    config = workload.config()
    side = config.dataset.imagesize
    backbone = load_backbone(workload.network.name, workload.weights)
    layers = list(workload.network.layers)
    return PatchEmbedder(
        prepare_for_inference(backbone, layers, side, torch.device("cpu")),
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
