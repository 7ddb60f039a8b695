"""Nearest neighbours in the memory bank, by FAISS."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.errors import ConfigError, EnvironmentProblem
from patchcore_ops.sections import RuntimeSection

SWITCH_TO_GPU = (
    "pip uninstall -y faiss-cpu faiss-gpu && pip install --no-deps --force-reinstall faiss-gpu"
)


def build_index(features: npt.NDArray[np.float32], factory: str) -> Any:
    """Build a FAISS index of squared Euclidean distances over the memory bank.

    Parameters
    ----------
    features : ndarray of float32, shape [picks, dim]
        The memory bank.
    factory : str
        A FAISS factory string, such as `Flat`, `IVF512,Flat` or `HNSW32`.

    Returns
    -------
    faiss.Index
        Trained where it needs to be, holding all features.

    Raises
    ------
    ConfigError
        If FAISS does not understand the factory string or the bank is too small for it.
    """
    faiss = _faiss()
    try:
        index = faiss.index_factory(features.shape[1], factory, faiss.METRIC_L2)
        if not index.is_trained:
            index.train(features)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"index.factory: FAISS cannot build '{factory}' over {len(features)} x "
            f"{features.shape[1]} features ({reason})"
        ) from None
    index.add(features)
    return index


def search(
    index: Any, queries: npt.NDArray[np.float32], neighbours: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Find the nearest features of each query.

    Parameters
    ----------
    index : faiss.Index
        Over the memory bank.
    queries : ndarray of float32, shape [n, dim]
    neighbours : int
        How many to find per query.

    Returns
    -------
    distances : ndarray of float32, shape [n, neighbours]
        Squared Euclidean distances, ascending, as the reference uses them.
    rows : ndarray of int64, shape [n, neighbours]
        Rows of the memory bank.

    Raises
    ------
    ConfigError
        If the bank holds fewer rows than `neighbours`.
    """
    if neighbours > index.ntotal:
        raise ConfigError(
            f"scoring.anomaly_scorer_num_nn: asks for {neighbours} neighbours, but the memory bank "
            f"holds {index.ntotal} rows; lower it or raise coreset.percentage"
        )
    distances, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), neighbours)
    return distances, rows


def prepare(index: Any, runtime: RuntimeSection) -> Any:
    """Set FAISS's threads and move the index to the GPU where the configuration asks for it."""
    faiss = _faiss()
    faiss.omp_set_num_threads(runtime.faiss_num_workers)
    if not runtime.faiss_on_gpu:
        return index
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        raise EnvironmentProblem(
            "runtime.faiss_on_gpu: this FAISS finds no GPU; set it to false, or switch to the GPU "
            f"build: {SWITCH_TO_GPU}"
        )
    return faiss.index_cpu_to_all_gpus(index)


def write_index(index: Any, path: Path) -> None:
    """Write an index to a local file, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _faiss().write_index(index, str(path))


def read_index(path: Path) -> Any:
    """Read an index from a local file."""
    return _faiss().read_index(str(path))


def _faiss() -> Any:
    """Import FAISS; refuse the two builds beside each other, for they overwrite one another."""
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    if len(installed) > 1:
        raise EnvironmentProblem(
            "faiss-cpu and faiss-gpu are both installed but share the module name faiss; keep one: "
            f"{SWITCH_TO_GPU}"
        )
    import faiss

    return faiss


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
