"""Search of any index for neighbours that are not among some of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.scoring.faiss_library import import_faiss

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


def search_without(
    index: Any, queries: Floats, neighbours: int, excluded: Rows
) -> tuple[Floats, Rows]:
    """Search an index for neighbours that are not among the excluded rows.

    It looks for as many more and drops them, as any index can. An inverted file is searched as a
    whole for queries whose nearest lists hold little but excluded rows. Where too few are found
    all the same, distances are infinite and rows -1.
    """
    if len(excluded) == 0:
        distances, rows = index.search(queries, neighbours)
        return distances, rows
    faiss = import_faiss()
    distances, rows = _search_and_drop(index, queries, neighbours, excluded)
    lack = np.isinf(distances[:, -1])
    if lack.any() and isinstance(index, faiss.IndexIVF):
        every_list = faiss.SearchParametersIVF(nprobe=index.nlist)
        distances[lack], rows[lack] = _search_and_drop(
            index, queries[lack], neighbours, excluded, every_list
        )
    return distances, rows


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
