"""What computes embeddings: one small interface for every library that can."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from patchcore_ops.dataset.image_stream import Pixels

Embeddings = npt.NDArray[np.float32]


class Engine(Protocol):
    """Embeds images by the network of one ensemble member."""

    name: str  # the library and its version
    network: str  # identity of the exported network that it runs; empty where it runs none
    weights_sha256: str  # of the backbone's weights as they were loaded, see `weights_hash`
    grid: tuple[int, int]  # height and width in patches
    first_dimensions: tuple[int, ...]  # of an embedding, to which each layer contributes
    images_per_call: int  # how many images to give at once
    calls_at_once: int  # how many threads may usefully do so

    def embed(self, images: Pixels) -> Embeddings:
        """Embed RGB images, uint8 [B, height, width, 3]; several threads may call it.

        Returns float32 [B * h * w, dimension]: image-major, then row-major over the patch grid.
        """
