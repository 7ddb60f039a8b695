"""Nearest neighbours, verified up to rounding, for a fraction of a flat scan.

A good guess at the neighbours gives an upper bound on the distance of the k-th. Only rows whose
lower bound (see `distance_bounds`) does not exceed it can be among the k nearest. They are found in
two steps: a scan by bounds in few dimensions, which leaves some hundreds of rows to a query, and
better bounds for these, which leave some tens. Their true distances verify the result. A
query with too many of them (an anomaly far from everything) is left to the flat scan.

Guesses, scans and distances are FAISS's; queries are worked on in as many threads as it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.runtime.process_settings import WhileNeeded
from patchcore_ops.scoring.distance_bounds import (
    BoundedRows,
    Floats,
    PrincipalAxes,
    Rows,
    shortened,
)
from patchcore_ops.scoring.excluded_rows import NO_ROWS, search_without
from patchcore_ops.scoring.faiss_library import import_faiss, in_threads

# Coordinates of the first, coarse bounds, and of the better ones.
COARSE_COORDINATES = 80
FINE_COORDINATES = 192
# Below these the flat scan is quicker than the preparation.
SMALLEST_BANK = 2048
SMALLEST_DIMENSION = 256
# With more rows than these expected or left, the next step is quicker without this one.
MOST_COARSE_CANDIDATES = 4096
MOST_FINE_CANDIDATES = 4096
MOST_CANDIDATES = 1024
_ROWS_SAMPLED = 1024
# A part is one thread's work, and what it holds meanwhile grows with it.
_QUERIES_PER_PART = 768
# From so many queries on, FAISS shall scan by matrix products.
_QUERIES_FOR_PRODUCTS = 20
_CELLS = 128
# Below this many vectors a cell, FAISS warns that the clustering means little.
_VECTORS_PER_CELL = 39
_PROBES = 4
_CLUSTERING_ROUNDS = 5
_SPARE_GUESSES = 4


class Found(NamedTuple):
    """The neighbours of n queries.

    Where a query has a limit and fewer neighbours within it, the others have an infinite distance
    and the row -1.
    """

    distances: Floats  # squared and Euclidean, shape [n, neighbours], ascending
    rows: Rows  # of the bank, shape [n, neighbours]
    # Whether bounds alone have verified the neighbours, shape [n]; None where no bounds were used.
    proven: npt.NDArray[np.bool_] | None


class CertifiedSearch:
    """Search over a flat index, by lower bounds; finds what the flat scan finds, up to rounding."""

    def __init__(self, flat: Any, threads: int = 1) -> None:
        self._faiss = faiss = import_faiss()
        self._flat = flat
        self._threads = threads
        self._bank = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(-1, flat.d)
        self._axes = PrincipalAxes(self._bank, FINE_COORDINATES)
        fine = self._axes.reduce(self._bank)
        coarse = shortened(fine, COARSE_COORDINATES)
        self._fine = BoundedRows(fine)
        del fine
        self._guess = _inverted_file(coarse)
        self._coarse = BoundedRows(coarse)

    @staticmethod
    def suits(index: Any) -> bool:
        """Tell whether an index is a flat one, and large enough for this search to pay."""
        faiss = import_faiss()

        return (
            isinstance(index, faiss.IndexFlat)
            and index.metric_type == faiss.METRIC_L2
            and index.ntotal >= SMALLEST_BANK
            and index.d >= SMALLEST_DIMENSION
        )

    def search(
        self,
        queries: Floats,
        neighbours: int,
        of_one_image: int | None = None,
        limits: Floats | None = None,
        excluded: Sequence[Rows] | None = None,
        threads: int | None = None,
    ) -> Found:
        """Find the nearest rows of the bank for queries [n, dim].

        So many queries are `of_one_image`, and are searched without those of others. `limits` are
        the squared distances beyond which no neighbour of a query is asked for: so far away is the
        last of as many that are known from elsewhere. They may be infinite. `excluded` are for each
        image rows of the bank that are no neighbours of its queries. `threads` are all by default;
        FAISS's own are so many already.
        """
        if limits is None:
            limits = np.full(len(queries), np.inf, dtype=np.float32)
        # Whatever the number of threads, the parts are the same, and so is how distances round.
        by_part = [
            [_parts_of(image) for image in images_of(values, of_one_image)]
            for values in (queries, limits)
        ]
        without = [NO_ROWS] * len(by_part[0]) if excluded is None else excluded
        parts, their_limits = (list(chain.from_iterable(of_images)) for of_images in by_part)
        their_own = [
            rows for rows, of_image in zip(without, by_part[0], strict=True) for _ in of_image
        ]
        search = partial(self._search, neighbours)
        with matrix_products():
            found = in_threads(threads or self._threads, search, parts, their_limits, their_own)
        return Found(*(np.concatenate(of_parts) for of_parts in zip(*found, strict=True)))

    def _search(self, neighbours: int, queries: Floats, limits: Floats, excluded: Rows) -> Found:
        reduced = self._axes.reduce(queries)
        coarse = shortened(reduced, COARSE_COORDINATES)
        guessed = self._upper_bounds(queries, coarse, neighbours, excluded)
        upper = np.minimum(guessed, limits)
        query_of, candidates, are_few = self._candidates(reduced, coarse, upper)
        if len(excluded):
            is_excluded = np.zeros(len(self._bank), dtype=bool)
            is_excluded[excluded] = True
            kept = ~is_excluded[candidates]
            query_of, candidates = query_of[kept], candidates[kept]
        query_of, near, of_near = self._near(queries, query_of, candidates, upper)
        count = np.bincount(query_of, minlength=len(queries))
        # Within a limit there may be none; within a guess there are those that were guessed.
        are_known = np.isfinite(limits) & (limits <= guessed)
        proven = are_few & (are_known | (count >= neighbours))
        distances = np.full((len(queries), neighbours), np.inf, dtype=np.float32)
        rows = np.full((len(queries), neighbours), -1, dtype=np.int64)
        place = np.arange(len(query_of)) - (np.cumsum(count) - count)[query_of]
        nearest = proven[query_of] & (place < neighbours)
        where = query_of[nearest], place[nearest]
        distances[where], rows[where] = of_near[nearest], near[nearest]
        if not proven.all():
            distances[~proven], rows[~proven] = search_without(
                self._flat, neighbours, queries[~proven], excluded
            )
        return Found(distances, rows, proven)

    def _upper_bounds(
        self, queries: Floats, coarse: Floats, neighbours: int, excluded: Rows
    ) -> Floats:
        """Bound the distance of each query's k-th neighbour by k rows that are probably near."""
        guesses = neighbours + _SPARE_GUESSES
        if len(excluded):
            selected = self._faiss.IDSelectorNot(self._faiss.IDSelectorBatch(excluded))
            parameters = self._faiss.SearchParametersIVF(sel=selected, nprobe=_PROBES)
            _, rows = self._guess.search(coarse, guesses, params=parameters)
        else:
            _, rows = self._guess.search(coarse, guesses)
        query_of = np.repeat(np.arange(len(queries)), guesses)
        distances = self._distances(queries, query_of, np.maximum(rows, 0).ravel())
        distances = np.where(rows >= 0, distances.reshape(rows.shape), np.float32(np.inf))
        nearest: Floats = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
        return nearest

    def _candidates(
        self, fine: Floats, coarse: Floats, upper: Floats
    ) -> tuple[Rows, Rows, npt.NDArray[np.bool_]]:
        """List the rows whose lower bound does not exceed the query's upper bound, by query.

        Also tell of which queries these are few; the candidates of the others are left out.
        """
        asked = BoundedRows.asked(fine, upper)
        asked_coarsely = BoundedRows.asked(coarse, upper)
        expected = self._coarse.count_below(asked_coarsely, _ROWS_SAMPLED)
        light = np.flatnonzero(expected <= MOST_COARSE_CANDIDATES)
        heavy = np.flatnonzero(expected > MOST_COARSE_CANDIDATES)
        of_light, rows = self._coarse.below(asked_coarsely[light])
        of_light = light[of_light]
        kept = self._fine.are_below(asked, of_light, rows)
        # What would fill the memory with candidates is left to the flat scan at once.
        are_listed = self._fine.count_below(asked[heavy], _ROWS_SAMPLED) <= MOST_FINE_CANDIDATES
        listed = heavy[are_listed]
        of_heavy, more_rows = self._fine.below(asked[listed])
        query_of = np.concatenate([of_light[kept], listed[of_heavy]])
        rows = np.concatenate([rows[kept], more_rows])
        are_few = np.bincount(query_of, minlength=len(fine)) <= MOST_CANDIDATES
        are_few[heavy[~are_listed]] = False
        kept = are_few[query_of]
        return query_of[kept], rows[kept], are_few

    def _near(
        self, queries: Floats, query_of: Rows, candidates: Rows, upper: Floats
    ) -> tuple[Rows, Rows, Floats]:
        """Keep the candidates whose true distance does not exceed the query's upper bound."""
        distances = self._distances(queries, query_of, candidates)
        near = distances <= upper[query_of]
        query_of, candidates, distances = query_of[near], candidates[near], distances[near]
        order = np.lexsort((candidates, distances, query_of))
        return query_of[order], candidates[order], distances[order]

    def _distances(self, queries: Floats, query_of: Rows, rows: Rows) -> Floats:
        """Compute the squared distances of given (query, row) pairs."""
        distances = np.empty(len(rows), dtype=np.float32)
        swig = self._faiss.swig_ptr
        self._faiss.pairwise_indexed_L2sqr(
            self._flat.d,
            len(rows),
            *(swig(queries), swig(query_of), swig(self._bank), swig(rows), swig(distances)),
        )
        return distances


def _parts_of(image: Floats) -> list[Floats]:
    """Divide what is of the queries of an image into parts."""
    return np.array_split(image, max(len(image) // _QUERIES_PER_PART, 1))


def images_of(queries: Floats, of_one_image: int | None) -> list[Floats]:
    """Divide queries, or what is of each of them, into those of each image."""
    return np.split(queries, range(of_one_image or len(queries), len(queries), of_one_image or 1))


@contextmanager
def _by_matrix_products() -> Iterator[None]:
    faiss = import_faiss()
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = _QUERIES_FOR_PRODUCTS
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


# Lets FAISS scan by matrix products where it would go through the queries one by one: its newer
# versions do that below some 1,500 queries of 83 dimensions, at half the speed.
matrix_products = WhileNeeded(_by_matrix_products)


def _inverted_file(vectors: Floats) -> Any:
    """Index vectors for quick guesses."""
    faiss = import_faiss()

    cells = max(min(_CELLS, len(vectors) // _VECTORS_PER_CELL), 1)
    index: Any = faiss.index_factory(vectors.shape[1], f"IVF{cells},Flat")
    index.cp.niter = _CLUSTERING_ROUNDS
    index.train(vectors)
    index.add(vectors)
    index.nprobe = _PROBES
    return index
