"""From images to patch embeddings (paper, section 3.1; reference: `PatchCore._embed`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.embedding.patch_pooling import PatchPooling, pooling_matrices


class PatchEmbedder(torch.nn.Module):
    """Embeds every patch of an image: locally aware features of several layers, as one vector.

    Parameters
    ----------
    backbone : torch.nn.Module
        A frozen network in eval mode, on the device where embedding shall happen; it is not copied.
    layers : sequence of str
        Layer names; the first one's resolution is the patch grid.
    imagesize : int or (int, int)
        Of the input, in pixels: one side of a square, or height and width.
    pretrain_embed_dimension : int
        Dimension to which each layer's patch is pooled.
    target_embed_dimension : int
        Dimension of an embedding.
    patchsize : int
        Side of the neighbourhood that a patch aggregates, in cells of its layer; odd.

    Attributes
    ----------
    grid : (int, int)
        Height and width of the patch grid.
    first_dimensions : tuple of int
        The first dimension of an embedding to which each layer contributes.

    Raises
    ------
    WeightsError
        If a layer does not exist, never runs or gives no map.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        layers: Sequence[str],
        imagesize: int | tuple[int, int],
        pretrain_embed_dimension: int,
        target_embed_dimension: int,
        patchsize: int = 3,
    ) -> None:
        super().__init__()
        device = next(backbone.parameters()).device
        probe = torch.zeros(1, 3, *height_and_width(imagesize), device=device)
        layouts = FeatureExtractor(backbone, layers).find_layouts(probe)
        self.extractor = FeatureExtractor(backbone, layers, layouts)
        self.grid = layouts[layers[0]].shape[1:]
        matrices = pooling_matrices(
            [layouts[layer].shape[0] for layer in layers],
            patchsize,
            pretrain_embed_dimension,
            target_embed_dimension,
        )
        poolings = [PatchPooling(matrix, patchsize) for matrix in matrices]
        self.poolings = torch.nn.ModuleList(poolings).to(device)
        self.first_dimensions = tuple(pooling.first for pooling in poolings)

    @torch.inference_mode()
    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Embed the patches of normalised images.

        Parameters
        ----------
        images : Tensor of float32, shape [B, 3, height, width]

        Returns
        -------
        embeddings : Tensor of float32, shape [B * h * w, target_embed_dimension]
            Image-major, then row-major over the patch grid.
        grid : tuple of int
            (h, w).
        """
        return self(images), self.grid

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed as `embed` does, without the grid."""
        return self.pool([maps.float() for maps in self.extractor(images)])

    def pool(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn the layers' feature maps into embeddings [B * h * w, target]."""
        grid = features[0].shape[2:]
        joined = features[0][:, :0]
        for first, pooling, maps in zip(
            self.first_dimensions, self.poolings, features, strict=True
        ):
            pooled = pooling(maps)
            if pooled.shape[2:] != grid:
                pooled = F.interpolate(pooled, grid, mode="bilinear")
            joined = _joined(joined, pooled, joined.shape[1] - first)
        rows = joined.permute(0, 2, 3, 1)
        return rows.reshape(-1, rows.shape[-1])


def _joined(before: torch.Tensor, after: torch.Tensor, shared: int) -> torch.Tensor:
    """Put maps behind others; where a bin spans two layers, both contribute to it."""
    if shared == 0:
        return torch.cat([before, after], dim=1)
    both = before[:, -shared:] + after[:, :shared]
    return torch.cat([before[:, :-shared], both, after[:, shared:]], dim=1)
