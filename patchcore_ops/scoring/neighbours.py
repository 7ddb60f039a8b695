"""Nearest neighbours in the memory bank, by FAISS."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import IndexSection, RuntimeSection
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem
from patchcore_ops.runtime.process_settings import one_blas_thread
from patchcore_ops.runtime.processors import available_processors
from patchcore_ops.scoring.certified_search import (
    CertifiedSearch,
    Found,
    images_of,
    matrix_products,
)
from patchcore_ops.scoring.excluded_rows import search_without
from patchcore_ops.scoring.faiss_library import (
    SWITCH_TO_GPU,
    faiss_threads,
    in_threads,
    only_faiss,
    reason_of,
)
from patchcore_ops.scoring.index_building import set_parameters

Floats = npt.NDArray[np.float32]
# Below these a flat scan is quick anyhow, and more exact query by query.
_ROWS_FOR_PRODUCTS = 512


class Searcher:
    """Searches a memory bank: by FAISS as configured, and quicker where that is still exact.

    Raises
    ------
    ConfigError
        If FAISS does not know a search parameter.
    EnvironmentProblem
        If the GPU is asked for and there is none.
    """

    def __init__(self, index: Any, section: IndexSection, runtime: RuntimeSection) -> None:
        faiss = only_faiss()
        # More threads than processors would only wait for each other.
        self.threads = min(runtime.faiss_num_workers, available_processors())
        set_parameters(faiss, index, section)
        self._index: Any = index
        self._is_on_gpu = runtime.faiss_on_gpu
        # A GPU's index serves one search at a time.
        self._in_turn: AbstractContextManager[Any] = (
            threading.Lock() if runtime.faiss_on_gpu else nullcontext()
        )
        if runtime.faiss_on_gpu:
            self._index = _on_gpu(faiss, index)
        elif runtime.certified_search and CertifiedSearch.suits(index):
            with one_blas_thread(), faiss_threads(self.threads):
                self._index = CertifiedSearch(index, self.threads)
        self._rows = index.ntotal
        self._by_products = (
            isinstance(index, faiss.IndexFlat) and index.ntotal >= _ROWS_FOR_PRODUCTS
        )

    def find(
        self,
        queries: Floats,
        neighbours: int,
        of_one_image: int | None = None,
        limits: Floats | None = None,
        excluded: Sequence[npt.NDArray[np.int64]] | None = None,
        threads: int | None = None,
    ) -> Found:
        """Find the nearest features of each query [n, dim]; several threads may call it.

        So many queries are `of_one_image`, and are searched without those of others: how distances
        round depends on all that is searched at once. By default, all are of one. What is beyond a
        query's limit may be left out, and each image's `excluded` rows are, see
        `CertifiedSearch.search`. `threads` are those of `runtime` by default and at most. Raises
        ConfigError if the bank holds fewer rows than `neighbours`, or an approximate index finds
        fewer; with limits or excluded rows, it may.
        """
        if neighbours > self._rows:
            raise ConfigError(
                f"scoring.anomaly_scorer_num_nn: asks for {neighbours} neighbours, but the memory "
                f"bank holds {self._rows} rows; lower it or raise coreset.percentage"
            )
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        threads = min(threads or self.threads, self.threads)
        with self._in_turn, one_blas_thread(), faiss_threads(threads):
            if isinstance(self._index, CertifiedSearch):
                found = self._index.search(
                    queries, neighbours, of_one_image, limits, excluded, threads
                )
            else:
                images = images_of(queries, of_one_image)
                with matrix_products() if self._by_products else nullcontext():
                    parts = in_threads(
                        1 if self._is_on_gpu else threads,
                        partial(search_without, self._index, neighbours),
                        images,
                        excluded or [None] * len(images),
                    )
                distances, rows = (
                    np.concatenate(of_images) for of_images in zip(*parts, strict=True)
                )
                found = Found(distances, rows, None)
        if limits is None and excluded is None and (found.rows < 0).any():
            raise ConfigError(
                f"index.search_parameters: the index finds fewer than {neighbours} neighbours for "
                "some patch; raise nprobe or efSearch"
            )
        return found


def _on_gpu(faiss: Any, index: Any) -> Any:
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        raise EnvironmentProblem(
            "runtime.faiss_on_gpu: this FAISS finds no GPU; set it to false, or switch to the GPU "
            f"build: {SWITCH_TO_GPU}"
        )
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError as error:
        raise ConfigError(
            "runtime.faiss_on_gpu: FAISS cannot search this index on a GPU "
            f"({reason_of(error)}); set it to false, or index.factory to "
            "Flat"
        ) from None
