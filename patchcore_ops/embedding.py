"""From images to patch embeddings (paper, section 3.1; reference: `PatchCore._embed`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.patch_pooling import PatchPooling, pooling_matrices
from patchcore_ops.sections import Precision

_IMAGES_IN_CACHE = 4


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
        self._room = torch.empty(0, target_embed_dimension, device=self._device)
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
        """Run the backbone: the layers' feature maps in float32, each of shape [B, C, h, w]."""
        is_short = self._precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_short):
            return [maps.float() for maps in self.extractor(images)]

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
        embeddings = torch.cat([few.clone() for few in self.pool_in_turn(features)])
        return embeddings, (features[0].shape[2], features[0].shape[3])

    @torch.inference_mode()
    def pool_in_turn(self, features: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Turn feature maps into embeddings, as few images at a time as serves the device.

        A processor's cache holds the embeddings of two images, and whoever uses them at once finds
        them there; those of a batch would make the way to the main memory and back. A GPU wants the
        whole batch.

        Parameters
        ----------
        features : sequence of Tensor, shape [B, C, h, w]
            One per layer.

        Yields
        ------
        Tensor of float32, shape [b * h * w, target_embed_dimension]
            The next images' embeddings, in memory that is used again for those after them.
        """
        images, _, height, width = features[0].shape
        few = _IMAGES_IN_CACHE if features[0].device.type == "cpu" else images
        room = self._room_for(few * height * width)
        for start in range(0, images, few):
            maps_of_few = [maps[start : start + few] for maps in features]
            rows = room[: len(maps_of_few[0]) * height * width]
            self._pool_into(rows.view(-1, height, width, room.shape[1]), maps_of_few)
            yield rows

    def _room_for(self, rows: int) -> torch.Tensor:
        """Return room for so many embeddings, the same as last time if it was as large."""
        if len(self._room) != rows:
            self._room = torch.empty(rows, self.target_embed_dimension, device=self._device)
        return self._room

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
