"""What computes embeddings: one small interface for every library that can."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from patchcore_ops.dataset.image_stream import Pixels

Embeddings = npt.NDArray[np.float32]


class Engine(Protocol):
    """Embeds images by the network of one ensemble member.

    Attributes
    ----------
    name : str
        The library and its version.
    network : str
        Identity of the exported network that it runs; empty where it runs none.
    weights_sha256 : str
        Of the backbone's weights as they were loaded, see `backbones.weights_hash`.
    grid : (int, int)
        Height and width of the patch grid.
    first_dimensions : tuple of int
        The first dimension of an embedding to which each layer contributes.
    images_per_call, calls_at_once : int
        How many images to give at once, and how many threads may usefully do so.
    """

    name: str
    network: str
    weights_sha256: str
    grid: tuple[int, int]
    first_dimensions: tuple[int, ...]
    images_per_call: int
    calls_at_once: int

    def embed(self, images: Pixels) -> Embeddings:
        """Embed images; several threads may call it.

        Parameters
        ----------
        images : ndarray of uint8, shape [B, height, width, 3]
            RGB.

        Returns
        -------
        ndarray of float32, shape [B * h * w, dimension]
            Image-major, then row-major over the patch grid.
        """
