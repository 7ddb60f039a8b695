"""Search of any index for neighbours that are not among some of its rows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.scoring.faiss_library import faiss_threads, import_faiss

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


def search_without(
    index: Any, neighbours: int, queries: Floats, excluded: Rows | None
) -> tuple[Floats, Rows]:
    """Search an index for neighbours that are not among the excluded rows.

    It looks for as many more and drops them, as any index can. An inverted file is searched as a
    whole for queries whose nearest lists hold little but excluded rows. Where too few are found
    all the same, distances are infinite and rows -1. None is a search as the index is set.

    How a flat search rounds depends on FAISS's threads, so it has one.
    """
    faiss = import_faiss()
    with faiss_threads(1) if isinstance(index, faiss.IndexFlat) else nullcontext():
        if excluded is None:
            distances, rows = index.search(queries, neighbours)
            return distances, rows
        distances, rows = _search_and_drop(index, queries, neighbours, excluded)
        lack = np.isinf(distances[:, -1])
        if lack.any() and (every_list := _every_list(faiss, index)) is not None:
            distances[lack], rows[lack] = _search_and_drop(
                index, queries[lack], neighbours, excluded, every_list
            )
        return distances, rows


def _every_list(faiss: Any, index: Any) -> Any:
    """Return search parameters that leave out no list of an inverted file; None without one."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=index.nlist)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _every_list(faiss, index.index)
        return inner and faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = _every_list(faiss, index.base_index)
        return inner and faiss.IndexRefineSearchParameters(
            k_factor=index.k_factor, base_index_params=inner
        )
    return None


def _search_and_drop(
    index: Any, queries: Floats, neighbours: int, excluded: Rows, parameters: Any = None
) -> tuple[Floats, Rows]:
    distances, rows = index.search(
        queries, min(neighbours + len(excluded), index.ntotal), params=parameters
    )
    is_neighbour = (rows >= 0) & ~np.isin(rows, excluded)
    distances = np.where(is_neighbour, distances, np.float32(np.inf))
    rows = np.where(is_neighbour, rows, -1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
    return (
        np.take_along_axis(distances, nearest, axis=1),
        np.take_along_axis(rows, nearest, axis=1),
    )
