"""Which embeddings the memory bank keeps: the named samplers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.coreset.greedy import exact_k_center_greedy, k_center_greedy
from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.array_namespace import Array
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.block_threads import block_threads, blocks
from patchcore_ops.runtime.errors import ConfigError, WeightsError
from patchcore_ops.runtime.progress import Progress

Selection = npt.NDArray[np.int64]
# Squared distances between such coordinates, summed over 65536 dimensions, fit a float32.
LARGEST_COORDINATE = 1e16
_ROWS_PER_BLOCK = 2048

Sampler = Callable[[ArrayFile, CoresetSection, str, Progress | None], Selection]


def select_rows(
    embeddings: ArrayFile,
    coreset: CoresetSection,
    device: str = "cpu",
    on_progress: Progress | None = None,
) -> Selection:
    """Choose the rows of the memory bank.

    Parameters
    ----------
    embeddings : ArrayFile, shape [N, D]
        The embeddings of the train images; only their projection is held in memory.
    coreset : CoresetSection
        Sampler, percentage, projection and seed.
    device : str
        Where the greedy samplers compute, as `devices.device_name` says: on `cpu` by numpy, on any
        other by torch.
    on_progress : callable, optional
        Called with (picks so far, picks wanted) now and then.

    Returns
    -------
    ndarray of int64
        Rows of `embeddings`, in pick order.

    Raises
    ------
    ConfigError
        If the percentage leaves not a single row.
    """
    if coreset.sampler != "identity" and sample_count(len(embeddings), coreset) == 0:
        raise ConfigError(
            f"coreset.percentage: {coreset.percentage} of {len(embeddings)} embeddings is not a "
            "single one; raise it"
        )
    return SAMPLERS[coreset.sampler](embeddings, coreset, device, on_progress)


def sample_count(rows: int, coreset: CoresetSection) -> int:
    """Return how many of so many rows the section keeps: `int(rows * percentage)`."""
    return rows if coreset.sampler == "identity" else int(rows * coreset.percentage)


def project(embeddings: ArrayFile, dimension: int, draws: Draws, device: str = "cpu") -> Array:
    """Project embeddings by a random linear map without bias, block by block.

    The dimension may be larger than the embeddings' own, as in the reference: then the map goes up,
    which costs time and brings nothing.

    The map is drawn as the reference draws it: uniformly from +-1/sqrt(D), torch's default for a
    linear layer. Embeddings that have the wanted dimension already stay as they are.

    Returns
    -------
    array of float32, shape [N, dimension]
        Of numpy, or of torch on any device but `cpu`.

    Raises
    ------
    WeightsError
        If the projected points are not finite, or so large that their distances are not.
    """
    weight = random_projection(embeddings.shape[1], dimension, draws)
    in_blocks = _project if device == "cpu" else partial(_project_by_torch, device=device)
    projected = in_blocks(embeddings, dimension, weight)
    _refuse_immeasurable(projected)
    return projected


def random_projection(width: int, dimension: int, draws: Draws) -> npt.NDArray[np.float32] | None:
    """Draw the map of `project`.

    Returns
    -------
    ndarray of float32, shape [width, dimension], or None
        None where the embeddings have the wanted dimension already.
    """
    return None if width == dimension else draws.uniform(width**-0.5, (dimension, width)).T


def _project(
    embeddings: ArrayFile, dimension: int, weight: npt.NDArray[np.float32] | None
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
    embeddings: ArrayFile, dimension: int, weight: npt.NDArray[np.float32] | None, device: str
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


def _identity(
    embeddings: ArrayFile, _coreset: CoresetSection, _device: str, _: Progress | None
) -> Selection:
    return np.arange(len(embeddings), dtype=np.int64)


def _random(
    embeddings: ArrayFile, coreset: CoresetSection, _device: str, _: Progress | None
) -> Selection:
    generator = np.random.default_rng(coreset.seed)
    chosen = generator.choice(
        len(embeddings), sample_count(len(embeddings), coreset), replace=False
    )
    return chosen.astype(np.int64)


def _greedy(
    embeddings: ArrayFile,
    coreset: CoresetSection,
    device: str,
    on_progress: Progress | None,
) -> Selection:
    points = project(embeddings, coreset.projection_dimension, Draws(coreset.seed), device)
    return exact_k_center_greedy(
        points, sample_count(len(points), coreset), on_progress, in_place=True
    )


def _approximate_greedy(
    embeddings: ArrayFile,
    coreset: CoresetSection,
    device: str,
    on_progress: Progress | None,
) -> Selection:
    draws = Draws(coreset.seed)
    points = project(embeddings, coreset.projection_dimension, draws, device)
    starts = draws.some_of(coreset.number_of_starting_points, len(points))
    return k_center_greedy(
        points, sample_count(len(points), coreset), starts.tolist(), on_progress, in_place=True
    )


SAMPLERS: Mapping[str, Sampler] = {
    "identity": _identity,
    "random": _random,
    "greedy_coreset": _greedy,
    "approx_greedy_coreset": _approximate_greedy,
}
