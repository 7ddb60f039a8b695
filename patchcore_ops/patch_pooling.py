"""The pooling of patches into embeddings, composed into depthwise convolutions.

The paper's form cuts every p x p patch out of each feature map, resizes all C * p * p maps to one
grid, flattens each patch and pools it twice (per layer, then across layers). All of it is linear,
and pooling acts on channels and patch offsets while resizing acts on positions, so the two commute:
pooling can come first, at the layer's own resolution and on far fewer maps. Both poolings average
short runs of neighbouring entries of (channel, row, column), so each output dimension needs only a
few neighbouring channels: a sum of depthwise p x p convolutions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse


class PatchPooling(torch.nn.Module):
    """One layer's share of the embedding, at that layer's own resolution.

    Parameters
    ----------
    matrix : sparse matrix of shape [target, C * p * p]
        What each output dimension takes from a flattened patch, see `pooling_matrices`.
    patchsize : int
        p.

    Attributes
    ----------
    first, last : int
        The output dimensions `first` to `last - 1` depend on this layer.
    """

    channels: torch.Tensor
    kernels: torch.Tensor

    def __init__(self, matrix: sparse.csr_matrix, patchsize: int) -> None:
        super().__init__()
        outputs = np.flatnonzero(np.diff(matrix.indptr))
        self.first, self.last = int(outputs[0]), int(outputs[-1]) + 1
        rows = matrix[self.first : self.last]
        channel_count = matrix.shape[1] // patchsize**2
        entry_channels = rows.indices // patchsize**2
        lowest = np.minimum.reduceat(entry_channels, rows.indptr[:-1])
        highest = np.maximum.reduceat(entry_channels, rows.indptr[:-1])
        depth = int((highest - lowest).max()) + 1
        lowest = np.minimum(lowest, channel_count - depth)
        row_of_entry = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        kernels = np.zeros((depth, rows.shape[0], patchsize**2), dtype=np.float32)
        kernels[
            entry_channels - lowest[row_of_entry], row_of_entry, rows.indices % patchsize**2
        ] = rows.data
        self.padding = patchsize // 2
        self._is_depthwise = depth == 1 and np.array_equal(lowest, np.arange(channel_count))
        self.register_buffer(
            "channels", torch.from_numpy(lowest[None] + np.arange(depth)[:, None]).long()
        )
        self.register_buffer(
            "kernels",
            torch.from_numpy(kernels.reshape(depth, -1, 1, patchsize, patchsize)),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool a feature map.

        Parameters
        ----------
        features : Tensor, shape [B, C, h, w]

        Returns
        -------
        Tensor, shape [B, last - first, h, w]
        """
        if self._is_depthwise:
            return self._convolve(features, 0)
        pooled = self._convolve(features.index_select(1, self.channels[0]), 0)
        for depth in range(1, len(self.channels)):
            pooled += self._convolve(features.index_select(1, self.channels[depth]), depth)
        return pooled

    def _convolve(self, features: torch.Tensor, depth: int) -> torch.Tensor:
        kernel = self.kernels[depth]
        return F.conv2d(features, kernel, padding=self.padding, groups=len(kernel))


def pooling_matrices(
    channel_counts: list[int],
    patchsize: int,
    pretrain_embed_dimension: int,
    target_embed_dimension: int,
) -> list[sparse.csr_matrix]:
    """Compose the two adaptive average poolings into one matrix per layer.

    Parameters
    ----------
    channel_counts : list of int
        Channels of each layer.
    patchsize : int
        Side of a patch, p.
    pretrain_embed_dimension : int
        Dimension to which each layer's patch is pooled first.
    target_embed_dimension : int
        Dimension to which the concatenated layers are pooled then.

    Returns
    -------
    list of sparse matrices, shape [target_embed_dimension, C * p * p], float64
        Their sum over layers, each applied to its flattened patch (channel, row, column), is the
        embedding.
    """
    across = _adaptive_pooling(
        len(channel_counts) * pretrain_embed_dimension, target_embed_dimension
    )
    matrices = []
    for layer, channels in enumerate(channel_counts):
        within = _adaptive_pooling(channels * patchsize**2, pretrain_embed_dimension)
        start = layer * pretrain_embed_dimension
        matrices.append((across[:, start : start + pretrain_embed_dimension] @ within).tocsr())
    return matrices


def _adaptive_pooling(length: int, bins: int) -> sparse.csr_matrix:
    """Return `adaptive_avg_pool1d` as a matrix of shape [bins, length]."""
    positions = np.arange(bins)
    starts = positions * length // bins
    ends = -((positions + 1) * length // -bins)
    widths = ends - starts
    indptr = np.concatenate([[0], np.cumsum(widths)])
    indices = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - starts, widths)
    return sparse.csr_matrix((np.repeat(1.0 / widths, widths), indices, indptr), (bins, length))
