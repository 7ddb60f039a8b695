"""From images to patch embeddings (paper, section 3.1; reference: `PatchCore._embed`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.inference import PreparedBackbone, prepare_for_inference
from patchcore_ops.patch_pooling import PatchPooling, pooling_matrices

_IMAGES_IN_CACHE = 4


class PatchEmbedder:
    """Embeds every patch of an image: locally aware features of several layers, as one vector.

    Parameters
    ----------
    backbone : torch.nn.Module or PreparedBackbone
        A frozen network in eval mode, on the device where embedding shall happen; a copy of it is
        prepared, which runs in half the time. Or one that has been prepared for these layers and
        images of this size.
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

    Raises
    ------
    WeightsError
        If a layer does not exist, never runs or gives no map.
    """

    def __init__(
        self,
        backbone: torch.nn.Module | PreparedBackbone,
        layers: Sequence[str],
        imagesize: int,
        pretrain_embed_dimension: int,
        target_embed_dimension: int,
        patchsize: int = 3,
    ) -> None:
        if not isinstance(backbone, PreparedBackbone):
            here = next(backbone.parameters()).device
            backbone = prepare_for_inference(copy.deepcopy(backbone), layers, imagesize, here)
        self._precision = backbone.precision
        self._device = backbone.device
        self.extractor = FeatureExtractor(backbone.network, layers, backbone.layouts)
        self.target_embed_dimension = target_embed_dimension
        self.grid = backbone.map_shapes[layers[0]][1:]
        matrices = pooling_matrices(
            [backbone.map_shapes[layer][0] for layer in layers],
            patchsize,
            pretrain_embed_dimension,
            target_embed_dimension,
        )
        self._poolings = [PatchPooling(matrix, patchsize).to(self._device) for matrix in matrices]

    @torch.inference_mode()
    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Embed the patches of normalised images.

        Parameters
        ----------
        images : Tensor of float32, shape [B, 3, imagesize, imagesize]

        Returns
        -------
        embeddings : Tensor of float32, shape [B * h * w, target_embed_dimension]
            Image-major, then row-major over the patch grid.
        grid : tuple of int
            (h, w).
        """
        return self.pool(self.features(images))

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Run the backbone: the layers' feature maps, each of shape [B, C, h, w].

        They are float32, whatever number format the backbone computes in.
        """
        is_short = self._precision == "bfloat16"
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_short):
            return [maps.float() for maps in self.extractor(images)]

    @torch.inference_mode()
    def pool(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Turn the layers' feature maps into embeddings: everything after the backbone.

        Parameters
        ----------
        features : sequence of Tensor, shape [B, C, h, w]
            One per layer.

        Returns
        -------
        As `embed`.
        """
        images, _, height, width = features[0].shape
        embeddings = features[0].new_empty(images * height * width, self.target_embed_dimension)
        rows = embeddings.view(images, height, width, -1)
        for few in self._few_at_a_time(images):
            self._pool_into(rows[few], [maps[few] for maps in features])
        return embeddings, (height, width)

    def _few_at_a_time(self, images: int) -> Iterator[slice]:
        """Divide a batch into what is pooled at once."""
        few = _IMAGES_IN_CACHE if self._device.type == "cpu" else max(images, 1)
        return (slice(start, start + few) for start in range(0, images, few))

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
