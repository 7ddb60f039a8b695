"""Which embeddings the memory bank keeps: the named samplers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch

from patchcore_ops.arrays import ArrayFile
from patchcore_ops.coreset import exact_k_center_greedy, k_center_greedy
from patchcore_ops.errors import ConfigError, WeightsError
from patchcore_ops.progress import Progress
from patchcore_ops.sections import CoresetSection

Selection = npt.NDArray[np.int64]
# Squared distances between such coordinates, summed over 65536 dimensions, fit a float32.
LARGEST_COORDINATE = 1e16

Sampler = Callable[[ArrayFile, CoresetSection, torch.device, Progress | None], Selection]


def select_rows(
    embeddings: ArrayFile,
    coreset: CoresetSection,
    device: torch.device,
    on_progress: Progress | None = None,
) -> Selection:
    """Choose the rows of the memory bank.

    Parameters
    ----------
    embeddings : ArrayFile, shape [N, D]
        The embeddings of the train images; only their projection is held in memory.
    coreset : CoresetSection
        Sampler, percentage, projection and seed.
    device : torch.device
        Where the greedy samplers compute.
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


def project(
    embeddings: ArrayFile, dimension: int, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Project embeddings by a random linear map without bias, block by block.

    The dimension may be larger than the embeddings' own, as in the reference: then the map goes up,
    which costs time and brings nothing.

    The map is drawn as the reference draws it: uniformly from +-1/sqrt(D), torch's default for a
    linear layer. Embeddings that have the wanted dimension already stay as they are.

    Returns
    -------
    Tensor of float32, shape [N, dimension]
        On `device`.

    Raises
    ------
    WeightsError
        If the projected points are not finite, or so large that their distances are not.
    """
    weight = random_projection(embeddings.shape[1], dimension, generator)
    if weight is not None:
        weight = weight.to(device)
    projected = torch.empty(len(embeddings), dimension, device=device)
    start = 0
    for block in embeddings.blocks():
        rows = torch.from_numpy(block).to(device)
        target = projected[start : start + len(rows)]
        if weight is None:
            target.copy_(rows)
        else:
            torch.mm(rows, weight, out=target)
        start += len(rows)
    _refuse_immeasurable(projected)
    return projected


def _refuse_immeasurable(points: torch.Tensor) -> None:
    """Refuse points whose squared distances no float32 holds; NaN fails the comparison too."""
    if not points.numel():
        return
    lowest, highest = (float(value) for value in torch.aminmax(points))
    if not (lowest > -LARGEST_COORDINATE and highest < LARGEST_COORDINATE):
        raise WeightsError(
            f"the embeddings reach from {lowest:.3g} to {highest:.3g}, between which no distances "
            "can be measured; the weights are damaged or do not belong to this network: correct "
            "them and materialise raw_embeddings again"
        )


def random_projection(
    width: int, dimension: int, generator: torch.Generator
) -> torch.Tensor | None:
    """Draw the map of `project`.

    Returns
    -------
    Tensor of float32, shape [width, dimension], or None
        None where the embeddings have the wanted dimension already.
    """
    if width == dimension:
        return None
    bound = width**-0.5
    return torch.empty(dimension, width).uniform_(-bound, bound, generator=generator).T


def _identity(
    embeddings: ArrayFile, _coreset: CoresetSection, _device: torch.device, _: Progress | None
) -> Selection:
    return np.arange(len(embeddings), dtype=np.int64)


def _random(
    embeddings: ArrayFile, coreset: CoresetSection, _device: torch.device, _: Progress | None
) -> Selection:
    generator = np.random.default_rng(coreset.seed)
    chosen = generator.choice(
        len(embeddings), sample_count(len(embeddings), coreset), replace=False
    )
    return chosen.astype(np.int64)


def _greedy(
    embeddings: ArrayFile,
    coreset: CoresetSection,
    device: torch.device,
    on_progress: Progress | None,
) -> Selection:
    generator = torch.Generator().manual_seed(coreset.seed)
    points = project(embeddings, coreset.projection_dimension, generator, device)
    return exact_k_center_greedy(
        points, sample_count(len(points), coreset), on_progress, in_place=True
    )


def _approximate_greedy(
    embeddings: ArrayFile,
    coreset: CoresetSection,
    device: torch.device,
    on_progress: Progress | None,
) -> Selection:
    generator = torch.Generator().manual_seed(coreset.seed)
    points = project(embeddings, coreset.projection_dimension, generator, device)
    starts = torch.randperm(len(points), generator=generator)[: coreset.number_of_starting_points]
    return k_center_greedy(
        points, sample_count(len(points), coreset), starts.tolist(), on_progress, in_place=True
    )


SAMPLERS: Mapping[str, Sampler] = {
    "identity": _identity,
    "random": _random,
    "greedy_coreset": _greedy,
    "approx_greedy_coreset": _approximate_greedy,
}
