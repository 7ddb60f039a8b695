"""Nearest neighbours in the memory bank, by FAISS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from patchcore_ops.config.sections import IndexSection, RuntimeSection
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem
from patchcore_ops.runtime.processors import available_processors
from patchcore_ops.scoring.certified_search import CertifiedSearch, images_of
from patchcore_ops.scoring.faiss_library import import_faiss

Floats = npt.NDArray[np.float32]

SWITCH_TO_GPU = (
    "pip uninstall -y faiss-cpu faiss-gpu && pip install --no-deps --force-reinstall faiss-gpu"
)


def build_index(features: Floats, factory: str) -> Any:
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

    Examples
    --------
    >>> bank = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    >>> searcher = Searcher(build_index(bank, "Flat"), IndexSection(), RuntimeSection())
    >>> distances, rows = searcher.search(np.array([[3.0, 3.0]], dtype=np.float32), 2)
    >>> distances.tolist(), rows.tolist()
    ([[1.0, 18.0]], [[1, 0]])
    """
    faiss = _faiss()
    try:
        index = faiss.index_factory(features.shape[1], factory, faiss.METRIC_L2)
        if not index.is_trained:
            index.train(features)
        index.add(features)
    except (RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"index.factory: FAISS cannot build '{factory}' over {len(features)} x "
            f"{features.shape[1]} features ({_reason(error)}); use Flat, or fewer lists, links or "
            "codes"
        ) from None
    return index


def foresee_index(section: IndexSection, rows: int, dimension: int) -> None:
    """Refuse, by an empty index, a section that cannot serve a bank of so many rows.

    Raises
    ------
    ConfigError
        If `build_index` or `Searcher` would fail for one of these reasons.
    """
    faiss = _faiss()
    try:
        index = faiss.index_factory(dimension, section.factory, faiss.METRIC_L2)
    except (RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"index.factory: FAISS cannot build '{section.factory}' over {rows} x {dimension} "
            f"features ({_reason(error)}); use Flat, or see FAISS's guide to the index factory"
        ) from None
    if (needed := _rows_to_train(faiss, index)) > rows:
        raise ConfigError(
            f"index.factory: '{section.factory}' needs at least {needed} rows to train on, but the "
            f"memory bank will hold {rows}; use fewer lists or codes, or raise coreset.percentage"
        )
    _set_parameters(faiss, index, section)


def _rows_to_train(faiss: Any, index: Any) -> int:
    """Return the most centroids that any part of an index has: each is trained on a row."""
    if index.is_trained:
        return 0
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        inner = index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index
        return _rows_to_train(faiss, inner)
    lists = index.nlist if isinstance(index, faiss.IndexIVF) else 0
    codes = index.pq.ksub if hasattr(index, "pq") else 0
    return int(max(lists, codes))


def _reason(error: Exception) -> str:
    """Return what FAISS says without the function and file in which it says it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rpartition("Error: ")[2][:200] or lines[-1][:200]


class Searcher:
    """Searches a memory bank: by FAISS as configured, and quicker where that is still exact.

    Parameters
    ----------
    index : faiss.Index
        Over the memory bank.
    section : IndexSection
        Search parameters.
    runtime : RuntimeSection
        FAISS threads, GPU, and whether flat indices are searched by certified bounds.

    Raises
    ------
    ConfigError
        If FAISS does not know a search parameter.
    EnvironmentProblem
        If the GPU is asked for and there is none.
    """

    def __init__(self, index: Any, section: IndexSection, runtime: RuntimeSection) -> None:
        self._faiss = faiss = _faiss()
        # More threads than processors would only wait for each other.
        self._threads = min(runtime.faiss_num_workers, available_processors())
        self._libraries = ThreadpoolController()
        _set_parameters(faiss, index, section)
        self._index: Any = index
        if runtime.faiss_on_gpu:
            self._index = _on_gpu(faiss, index)
        elif runtime.certified_search and CertifiedSearch.suits(index):
            with self._threads_of_a_search():
                self._index = CertifiedSearch(index, self._threads)
        self._rows = index.ntotal

    @property
    def proven_share(self) -> float | None:
        """Share of the queries that bounds alone have verified; None where no bounds are used."""
        certified = isinstance(self._index, CertifiedSearch)
        return self._index.certificates.share if certified else None

    def search(
        self, queries: Floats, neighbours: int, of_one_image: int | None = None
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Find the nearest features of each query.

        Parameters
        ----------
        queries : ndarray of float32, shape [n, dim]
        neighbours : int
            How many to find per query.
        of_one_image : int, optional
            So many queries are of one image, and are searched without those of others: how
            distances round depends on all that is searched at once. By default, all are of one.

        Returns
        -------
        distances : ndarray of float32, shape [n, neighbours]
            Squared Euclidean distances, ascending, as the reference uses them.
        rows : ndarray of int64, shape [n, neighbours]
            Rows of the memory bank.

        Raises
        ------
        ConfigError
            If the bank holds fewer rows than `neighbours`, or an approximate index finds fewer.
        """
        if neighbours > self._rows:
            raise ConfigError(
                f"scoring.anomaly_scorer_num_nn: asks for {neighbours} neighbours, but the memory "
                f"bank holds {self._rows} rows; lower it or raise coreset.percentage"
            )
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        with self._threads_of_a_search():
            if isinstance(self._index, CertifiedSearch):
                distances, rows = self._index.search(queries, neighbours, of_one_image)
            else:
                found = [
                    self._index.search(image, neighbours)
                    for image in images_of(queries, of_one_image)
                ]
                distances, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if (rows < 0).any():
            raise ConfigError(
                f"index.search_parameters: the index finds fewer than {neighbours} neighbours for "
                "some patch; raise nprobe or efSearch"
            )
        return distances, rows

    @contextmanager
    def _threads_of_a_search(self) -> Iterator[None]:
        """Let each thread of a search compute its matrix products alone."""
        blas = self._libraries.limit(limits=1, user_api="blas")
        with blas, _threads(self._faiss, self._threads):
            yield


def write_index(index: Any, path: Path) -> None:
    """Write an index to a local file, creating its folder."""
    faiss = _faiss()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        # Given a path, FAISS takes no notice when the last bytes do not fit on the disk.
        faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))


def read_index(path: Path) -> Any:
    """Read an index from a local file."""
    return _faiss().read_index(str(path))


@contextmanager
def _threads(faiss: Any, count: int) -> Iterator[None]:
    """Let FAISS use so many threads, and its own again afterwards: torch may count by the same."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _set_parameters(faiss: Any, index: Any, section: IndexSection) -> None:
    if not section.search_parameters:
        return
    try:
        faiss.ParameterSpace().set_index_parameters(index, section.search_parameters)
    except RuntimeError as error:
        raise ConfigError(
            f"index.search_parameters: '{section.search_parameters}' does not suit "
            f"'{section.factory}' ({_reason(error)}); IVF indices take nprobe=16, HNSW "
            "indices efSearch=64"
        ) from None


def _on_gpu(faiss: Any, index: Any) -> Any:
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        raise EnvironmentProblem(
            "runtime.faiss_on_gpu: this FAISS finds no GPU; set it to false, or switch to the GPU "
            f"build: {SWITCH_TO_GPU}"
        )
    return faiss.index_cpu_to_all_gpus(index)


def _faiss() -> Any:
    """Import FAISS; refuse the two builds beside each other, for they overwrite one another."""
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    if len(installed) > 1:
        raise EnvironmentProblem(
            "faiss-cpu and faiss-gpu are both installed but share the module name faiss; keep one: "
            f"{SWITCH_TO_GPU}"
        )
    return import_faiss()


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
