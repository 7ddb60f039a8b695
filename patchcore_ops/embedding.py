"""From images to patch embeddings (paper, section 3.1; reference: `PatchCore._embed`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.patch_pooling import PatchPooling, pooling_matrices
from patchcore_ops.sections import Precision

_IMAGES_IN_CACHE = 2


class PatchEmbedder:
    """Embeds every patch of an image: locally aware features of several layers, as one vector.

    Parameters
    ----------
    backbone : torch.nn.Module
        A frozen network in eval mode, on the device where embedding shall happen.
    layers : sequence of str
        Layer names; the first one's resolution is the patch grid.
    imagesize : int
        Side of the square input, in pixels.
    pretrain_embed_dimension : int
        Dimension to which each layer's patch is pooled.
    target_embed_dimension : int
        Dimension of an embedding.
    patchsize : int
        Side of the neighbourhood that a patch aggregates, in cells of its layer; odd.
    precision : "float32" or "bfloat16"
        Number format of the backbone's computation; pooling is always done in float32.

    Raises
    ------
    WeightsError
        If a layer does not exist.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        layers: Sequence[str],
        imagesize: int,
        pretrain_embed_dimension: int,
        target_embed_dimension: int,
        patchsize: int = 3,
        precision: Precision = "float32",
    ) -> None:
        self._precision = precision
        self.extractor = FeatureExtractor(backbone, layers)
        self.target_embed_dimension = target_embed_dimension
        self._device = next(backbone.parameters()).device
        with torch.inference_mode():
            probe = self.extractor(torch.zeros(1, 3, imagesize, imagesize, device=self._device))
        self.grid = (probe[0].shape[2], probe[0].shape[3])
        matrices = pooling_matrices(
            [features.shape[1] for features in probe],
            patchsize,
            pretrain_embed_dimension,
            target_embed_dimension,
        )
        self._poolings = [PatchPooling(matrix, patchsize).to(self._device) for matrix in matrices]

    @torch.inference_mode()
    def embed(
        self, images: torch.Tensor, out: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Embed the patches of normalised images.

        Parameters
        ----------
        images : Tensor of float32, shape [B, 3, imagesize, imagesize]
        out : Tensor, optional
            A `buffer` for the result, to be used again and again: on a CPU, fresh memory costs
            about as much as filling it.

        Returns
        -------
        embeddings : Tensor of float32, shape [B * h * w, target_embed_dimension]
            Image-major, then row-major over the patch grid.
        grid : tuple of int
            (h, w).
        """
        return self.pool(self.features(images), out)

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Run the backbone: the layers' feature maps in float32, each of shape [B, C, h, w]."""
        is_short = self._precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_short):
            return [maps.float() for maps in self.extractor(images)]

    def buffer(self, images: int) -> torch.Tensor:
        """Return room for the embeddings of up to so many images."""
        rows = images * self.grid[0] * self.grid[1]
        return torch.empty(rows, self.target_embed_dimension, device=self._device)

    def pool(
        self, features: Sequence[torch.Tensor], out: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Turn the layers' feature maps into embeddings: everything after the backbone.

        Parameters
        ----------
        features : sequence of Tensor, shape [B, C, h, w]
            One per layer.
        out : Tensor, optional
            As in `embed`.

        Returns
        -------
        As `embed`.
        """
        images, _, height, width = features[0].shape
        count = images * height * width
        if out is None:
            out = features[0].new_empty((count, self.target_embed_dimension))
        rows = out[:count]
        embeddings = rows.view(images, height, width, -1)
        # A few images at a time stay in a processor's cache; a GPU wants the whole batch.
        step = _IMAGES_IN_CACHE if rows.device.type == "cpu" else images
        for start in range(0, images, step):
            chunk = slice(start, start + step)
            self._pool_into(embeddings[chunk], [maps[chunk] for maps in features])
        return rows, (height, width)

    def _pool_into(self, embeddings: torch.Tensor, features: Sequence[torch.Tensor]) -> None:
        """Pool some images' features into their rows, shape [images, h, w, target]."""
        filled = 0
        for pooling, maps in zip(self._poolings, features, strict=True):
            pooled = pooling(maps)
            if pooled.shape[2:] != embeddings.shape[1:3]:
                pooled = F.interpolate(pooled, embeddings.shape[1:3], mode="bilinear")
            pooled = pooled.permute(0, 2, 3, 1)
            # Where a bin spans two layers, both contribute to it.
            shared = filled - pooling.first
            embeddings[..., pooling.first : filled] += pooled[..., :shared]
            embeddings[..., filled : pooling.last] = pooled[..., shared:]
            filled = pooling.last
