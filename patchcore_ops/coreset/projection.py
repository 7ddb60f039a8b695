"""The random linear projection in which the greedy samplers measure distances."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.array_namespace import Array
from patchcore_ops.runtime.block_threads import block_threads, blocks
from patchcore_ops.runtime.errors import WeightsError
from patchcore_ops.runtime.rows import Rows

# Squared distances between such coordinates, summed over 65536 dimensions, fit a float32.
LARGEST_COORDINATE = 1e16
_ROWS_PER_BLOCK = 2048


def project(embeddings: Rows, dimension: int, draws: Draws, device: str = "cpu") -> Array:
    """Project embeddings [N, D] to float32 [N, dimension], block by block.

    Embeddings that have that dimension already stay as they are. A larger dimension is allowed, as
    in the reference. Raises WeightsError where the result is too large to measure distances in.
    """
    weight = random_projection(embeddings.shape[1], dimension, draws)
    in_blocks = _project if device == "cpu" else partial(_project_by_torch, device=device)
    projected = in_blocks(embeddings, dimension, weight)
    _refuse_immeasurable(projected)
    return projected


def random_projection(width: int, dimension: int, draws: Draws) -> npt.NDArray[np.float32] | None:
    """Draw the map [width, dimension] as torch initialises a linear layer; None if none needed."""
    return None if width == dimension else draws.uniform(width**-0.5, (dimension, width)).T


def _project(
    embeddings: Rows, dimension: int, weight: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    projected = np.empty((len(embeddings), dimension), dtype=np.float32)

    def compute(block: slice) -> None:
        rows = embeddings.read(block.start, block.stop)
        if weight is None:
            projected[block] = rows
            return
        # What is not finite is refused in a sentence, so that numpy need not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            np.matmul(rows, weight, out=projected[block])

    with block_threads(projected) as for_each:
        for_each(compute, blocks(len(embeddings), _ROWS_PER_BLOCK))
    return projected


def _project_by_torch(
    embeddings: Rows, dimension: int, weight: npt.NDArray[np.float32] | None, device: str
) -> Array:
    import torch

    on_device = None if weight is None else torch.from_numpy(weight).to(device)
    projected = torch.empty(len(embeddings), dimension, device=device)
    start = 0
    for block in embeddings.blocks():
        rows = torch.from_numpy(block).to(device)
        projected[start : start + len(rows)] = rows if on_device is None else rows @ on_device
        start += len(rows)
    return projected


def _refuse_immeasurable(points: Array) -> None:
    """Refuse points whose squared distances no float32 holds; NaN fails the comparison too."""
    if not len(points):
        return
    lowest, highest = float(points.min()), float(points.max())
    if not (lowest > -LARGEST_COORDINATE and highest < LARGEST_COORDINATE):
        raise WeightsError(
            f"the embeddings reach from {lowest:.3g} to {highest:.3g}, between which no distances "
            "can be measured; the weights are damaged or do not belong to this network: correct "
            "them and materialise raw_embeddings again"
        )
