"""What computes embeddings: one small interface for every library that can."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from patchcore_ops.image_stream import Pixels

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
    images_per_call : int
        How many images to give at once.
    calls_at_once : int
        How many threads may usefully call at once.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above
    @property
    def network(self) -> str: ...  # noqa: D102
    @property
    def weights_sha256(self) -> str: ...  # noqa: D102
    @property
    def grid(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def first_dimensions(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def images_per_call(self) -> int: ...  # noqa: D102
    @property
    def calls_at_once(self) -> int: ...  # noqa: D102

    def embed(self, images: Pixels) -> Embeddings:
        """Embed images; several threads may call it.

        Parameters
        ----------
        images : ndarray of uint8, shape [B, imagesize, imagesize, 3]
            RGB.

        Returns
        -------
        ndarray of float32, shape [B * h * w, dimension]
            Image-major, then row-major over the patch grid.
        """
