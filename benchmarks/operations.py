"""Counted operations, and the plain matrix products that they are held against; tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch
from benchmarks.our_stages import prepare_process
from benchmarks.workloads import Workload

__all__ = ["count_operations", "prepare_process", "time_products"]
_PRODUCTS = 5


def time_products(side: int) -> dict[str, Any]:
    """Time square float32 matrix products by numpy and torch."""
    import numpy as np
    import torch

    matrix = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    tensor = torch.from_numpy(matrix)
    watch = Stopwatch()
    for name, factor in (("numpy product", matrix), ("torch product", tensor)):
        factor @ factor
        with watch.stage(name):
            for _ in range(_PRODUCTS):
                factor @ factor
    operations = _PRODUCTS * 2 * side**3
    return {"seconds": watch.seconds, "operations": dict.fromkeys(watch.seconds, operations)}


def count_operations(
    workload: dict[str, Any], folder: str, proven_share: float | None
) -> dict[str, Any]:
    """Count the floating-point operations of each stage.

    Parameters
    ----------
    workload : dict
        A `Workload`.
    folder : str
        With what the stages have written.
    proven_share : float or None
        Share of the queries that the certified search has proven; None where all were scanned.

    Returns
    -------
    dict
        `operations` by stage; `flat_scan`, those of a flat scan of the whole bank.
    """
    from patchcore_ops.stages.layout import member_folder
    from patchcore_ops.stages.raw_embeddings import Grid

    settings = Workload(**workload)
    grid = Grid.read(member_folder(Path(folder) / "embeddings", 0))
    network, pooling = _count_embedding(settings)
    an_image = network + pooling
    picks = _picks(Path(folder))
    queries = grid.test_images * grid.patches
    flat = 2.0 * queries * picks * grid.dimension
    return {
        "network": network,
        "pooling": pooling,
        "flat_scan": flat,
        "operations": {
            "embed_train": an_image * grid.train_images,
            "embed_test": an_image * grid.test_images,
            "coreset": _count_coreset(settings, Path(folder)),
            "predict": _search_operations(queries, picks, grid.dimension, proven_share),
        },
    }


def _count_embedding(settings: Workload) -> tuple[float, float]:
    """Count the backbone's operations and the pooling's, for one image."""
    import torch

    from benchmarks.networks import embedder_of

    embedder = embedder_of(settings)
    images = torch.zeros(1, 3, 224, 224)
    with torch.inference_mode(), _counted() as network:
        features = embedder.extractor(images)
    with torch.inference_mode(), _counted() as pooling:
        embedder.pool(features)
    return network[0], pooling[0]


def _count_coreset(settings: Workload, folder: Path) -> float:
    """Count the projection, and select once more by torch, which can count."""
    import torch

    from patchcore_ops.coreset import k_center_greedy
    from patchcore_ops.coreset.projection import project
    from patchcore_ops.coreset.samplers import sample_count
    from patchcore_ops.coreset.torch_draws import Draws
    from patchcore_ops.runtime.arrays import ArrayFile
    from patchcore_ops.stages.layout import TRAIN_EMBEDDINGS, member_folder

    coreset = settings.config().coreset
    embeddings = ArrayFile(member_folder(folder / "embeddings", 0) / TRAIN_EMBEDDINGS)
    rows, width = embeddings.shape
    dimension = coreset.projection_dimension
    draws = Draws(coreset.seed)
    points = torch.from_numpy(project(embeddings, dimension, draws))
    starts = draws.some_of(coreset.number_of_starting_points, rows)
    with _counted() as operations:
        k_center_greedy(points, sample_count(rows, coreset), starts.tolist(), in_place=True)
    projection = 0.0 if width == dimension else 2.0 * rows * width * dimension
    return projection + operations[0]


def _search_operations(
    queries: int, picks: int, dimension: int, proven_share: float | None
) -> float:
    """Count the projection and the scans of the certified search, or one flat scan.

    Left out, because they depend on the data and are small: its guesses and its candidates.
    """
    from patchcore_ops.scoring.certified_search import COARSE_COORDINATES, FINE_COORDINATES

    flat = 2.0 * queries * picks * dimension
    if proven_share is None:
        return flat
    projection = 2.0 * (queries + picks) * dimension * FINE_COORDINATES
    axes = 2.0 * picks * dimension**2
    bounds = 2.0 * queries * picks * (COARSE_COORDINATES + 3)
    return axes + projection + bounds + (1 - proven_share) * flat


def _picks(folder: Path) -> int:
    from patchcore_ops.runtime.arrays import ArrayFile
    from patchcore_ops.stages.layout import FEATURES, member_folder

    return len(ArrayFile(member_folder(folder / "bank", 0) / FEATURES))


@contextmanager
def _counted() -> Iterator[list[float]]:
    """Count torch's convolutions and matrix products; the list holds the sum afterwards."""
    from torch.utils.flop_counter import FlopCounterMode

    total: list[float] = []
    with FlopCounterMode(display=False) as counter:
        yield total
    total.append(float(counter.get_total_flops()))
