"""The pooling of patches into embeddings, composed into one grouped convolution per layer.

The paper's form cuts every p x p patch out of each feature map, resizes all C * p * p maps to one
grid, flattens each patch and pools it twice (per layer, then across layers). All of it is linear,
and pooling acts on channels and patch offsets while resizing acts on positions, so the two commute:
pooling can come first, at the layer's own resolution and on far fewer maps. Both poolings average
short runs of neighbouring entries of (channel, row, column), so a block of neighbouring output
dimensions needs only a block of neighbouring channels: a p x p convolution in groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import sparse

# Groups of one output are depthwise convolutions; others should fill vector registers.
_OUTPUTS_PER_GROUP = (1, 16, 32, 64, 128)
# What copying a channel costs, in multiplications per position.
_GATHERING_COST = 32


class PatchPooling(torch.nn.Module):
    """One layer's share of the embedding, at that layer's own resolution."""

    channels: torch.Tensor | None
    kernels: torch.Tensor

    def __init__(self, matrix: sparse.csr_matrix, patchsize: int) -> None:
        super().__init__()
        outputs = np.flatnonzero(np.diff(matrix.indptr))
        self.first, self.last = int(outputs[0]), int(outputs[-1]) + 1
        rows = matrix[self.first : self.last].tocoo()
        channel_count = matrix.shape[1] // patchsize**2
        self._groups = groups = _cheapest_groups(rows.row, rows.col // patchsize**2, channel_count)
        kernels = np.zeros(
            (groups.count * groups.outputs, groups.width, patchsize**2), dtype=np.float32
        )
        channel_in_group = rows.col // patchsize**2 - groups.starts[rows.row // groups.outputs]
        kernels[rows.row, channel_in_group, rows.col % patchsize**2] = rows.data
        self.padding = patchsize // 2
        self.register_buffer(
            "kernels",
            torch.from_numpy(kernels.reshape(*kernels.shape[:2], patchsize, patchsize)),
        )
        self.register_buffer(
            "channels",
            None if groups.covers(channel_count) else torch.from_numpy(groups.channels()),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool feature maps: [B, C, h, w] -> [B, last - first, h, w]."""
        features = features.contiguous(memory_format=torch.channels_last)
        if self.channels is not None:
            features = features.index_select(1, self.channels)
        pooled = F.conv2d(features, self.kernels, padding=self.padding, groups=self._groups.count)
        return pooled[:, : self.last - self.first]


@dataclass(frozen=True)
class _Groups:
    """Blocks of `outputs` output dimensions, each fed by `width` channels from `starts[g]` on."""

    outputs: int
    width: int
    starts: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.starts)

    def channels(self) -> npt.NDArray[np.int64]:
        """List the channels of all groups, one group after the other."""
        return (self.starts[:, None] + np.arange(self.width)).ravel()

    def covers(self, channel_count: int) -> bool:
        """Whether the groups are the layer's channels as they stand."""
        return np.array_equal(self.channels(), np.arange(channel_count))

    def cost(self, channel_count: int) -> int:
        """Estimate multiplications per position and patch offset, gathering included."""
        gathering = 0 if self.covers(channel_count) else _GATHERING_COST
        return self.count * self.width * (self.outputs + gathering)


def _cheapest_groups(
    output_of_entry: npt.NDArray[np.integer],
    channel_of_entry: npt.NDArray[np.integer],
    channel_count: int,
) -> _Groups:
    """Choose how many output dimensions a group has, given which channels each of them needs."""
    options = []
    for outputs in _OUTPUTS_PER_GROUP:
        group = output_of_entry // outputs
        lowest = np.full(group.max() + 1, channel_count)
        highest = np.zeros(group.max() + 1, dtype=np.int64)
        np.minimum.at(lowest, group, channel_of_entry)
        np.maximum.at(highest, group, channel_of_entry)
        width = int((highest - lowest).max()) + 1
        if outputs > 1 or width == 1:
            starts = np.minimum(lowest, channel_count - width)
            options.append(_Groups(outputs, width, starts.astype(np.int64)))
    return min(options, key=lambda groups: groups.cost(channel_count))


def pooling_matrices(
    channel_counts: list[int],
    patchsize: int,
    pretrain_embed_dimension: int,
    target_embed_dimension: int,
) -> list[sparse.csr_matrix]:
    """Compose both adaptive average poolings into one [target, C * p * p] matrix per layer."""
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
