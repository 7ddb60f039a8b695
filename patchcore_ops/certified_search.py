"""Exact nearest neighbours for a fraction of a flat scan, with a certificate for each query.

Rotate everything by the memory bank's principal axes and split a vector into its first r
coordinates and the rest. The triangle inequality on the rest gives

    |q - x|^2  >=  |q_r - x_r|^2 + (|q_rest| - |x_rest|)^2,

a squared distance in r + 1 dimensions that never exceeds the true one. A good guess at the
neighbours gives an upper bound on the distance of the k-th; only rows whose lower bound does not
exceed it can be among the k nearest. They are few, and computing their true distances proves the
result. A query with too many of them (an anomaly far from everything) is left to the flat scan.

Both steps are FAISS searches: the guess by an inverted file over the r + 1 dimensions, and the
candidates by one range search. The condition "lower bound <= upper bound of this query" becomes
"inner product >= 0" by three more coordinates, because

    |a - b|^2 <= u   <=>   a.b - |b|^2 / 2 + (u - |a|^2) / 2 >= 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

LEADING_COORDINATES = 192
# Below this the flat scan is quicker than the preparation.
SMALLEST_BANK = 2048
MOST_CANDIDATES = 1024
_CELLS = 128
# Below this many vectors a cell, FAISS warns that the clustering means little.
_VECTORS_PER_CELL = 39
_PROBES = 4
_CLUSTERING_ROUNDS = 5
_ROWS_PER_BLOCK = 4096
# Relative to the squared norms: float32 rounding of both bounds, with a wide margin.
_ROUNDING = 2e-5


@dataclass
class Certificates:
    """How many queries were answered, and for how many the bounds alone proved the answer."""

    queries: int = 0
    proven: int = 0

    @property
    def share(self) -> float:
        """Proven share of the queries, in [0, 1]."""
        return self.proven / self.queries if self.queries else 1.0


class CertifiedSearch:
    """Exact search over a flat index, by lower bounds; finds what the flat scan finds.

    Parameters
    ----------
    flat : faiss.IndexFlatL2
        Index over the memory bank; it answers the queries that stay unproven.

    Attributes
    ----------
    certificates : Certificates
        Counts over all searches so far.
    """

    def __init__(self, flat: Any) -> None:
        import faiss

        self._faiss = faiss
        self._flat = flat
        self._bank = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(-1, flat.d)
        self.certificates = Certificates()
        self._centre = self._bank.mean(axis=0)
        self._axes = _principal_axes(self._bank, self._centre)
        blocks = range(0, len(self._bank), _ROWS_PER_BLOCK)
        bounds = np.concatenate(
            [self._reduce(self._bank[start : start + _ROWS_PER_BLOCK]) for start in blocks]
        )
        self._guess = _inverted_file(bounds)
        half_squares = np.square(bounds).sum(axis=1, keepdims=True) / 2
        self._range = faiss.IndexFlatIP(bounds.shape[1] + 2)
        self._range.add(np.hstack([bounds, -half_squares, np.ones_like(half_squares)]))

    @staticmethod
    def suits(index: Any) -> bool:
        """Tell whether an index is a flat one, and large enough for this search to pay."""
        import faiss

        return (
            isinstance(index, faiss.IndexFlat)
            and index.metric_type == faiss.METRIC_L2
            and index.ntotal >= SMALLEST_BANK
            and index.d >= 2 * LEADING_COORDINATES
        )

    def search(self, queries: Floats, neighbours: int) -> tuple[Floats, Rows]:
        """Find the nearest rows of the bank.

        Parameters
        ----------
        queries : ndarray of float32, shape [n, dim]
        neighbours : int

        Returns
        -------
        distances : ndarray of float32, shape [n, neighbours]
            Squared Euclidean distances, ascending.
        rows : ndarray of int64, shape [n, neighbours]
        """
        reduced = self._reduce(queries)
        upper = self._upper_bounds(queries, reduced, neighbours)
        limits, candidates = self._candidates(reduced, upper)
        counts = np.diff(limits)
        proven = (counts >= neighbours) & (counts <= MOST_CANDIDATES)
        distances, rows = self._nearest_candidates(queries, counts, candidates, proven, neighbours)
        if not proven.all():
            distances[~proven], rows[~proven] = self._flat.search(queries[~proven], neighbours)
        self.certificates.queries += len(queries)
        self.certificates.proven += int(proven.sum())
        return distances, rows

    def _reduce(self, vectors: Floats) -> Floats:
        """Map vectors to their leading coordinates and the norm of the rest, shape [n, r + 1]."""
        centred = vectors - self._centre
        leading = centred @ self._axes
        rest = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", leading, leading)
        return np.hstack([leading, np.sqrt(np.maximum(rest, 0))[:, None]])

    def _upper_bounds(self, queries: Floats, reduced: Floats, neighbours: int) -> Floats:
        """Bound the distance of each query's k-th neighbour by k rows that are probably near."""
        _, guessed = self._guess.search(reduced, neighbours)
        found = guessed >= 0
        query_of_guess = np.repeat(np.arange(len(queries)), neighbours)
        distances = self._true_distances(
            queries, query_of_guess, np.where(found, guessed, 0).ravel()
        ).reshape(guessed.shape)
        return np.where(found.all(axis=1), distances.max(axis=1), np.float32(np.inf))

    def _candidates(self, reduced: Floats, upper: Floats) -> tuple[Rows, Rows]:
        """List the rows whose lower bound does not exceed the query's upper bound.

        Returns `limits` [n + 1] and the rows, those of query i from limits[i] to limits[i + 1].
        """
        squares = np.square(reduced).sum(axis=1)
        # A query without any upper bound gets no candidates, hence no proof, hence the flat scan.
        margin = np.where(
            np.isfinite(upper), (upper - squares) / 2 + _ROUNDING * (squares + upper), -np.inf
        )
        margin = np.maximum(margin, np.finfo(np.float32).min / 4)
        ones = np.ones((len(reduced), 1), dtype=np.float32)
        queries = np.hstack([reduced, ones, margin[:, None].astype(np.float32)])
        limits, _, rows = self._range.range_search(queries, 0.0)
        return limits.astype(np.int64), rows

    def _nearest_candidates(
        self,
        queries: Floats,
        counts: Rows,
        candidates: Rows,
        proven: npt.NDArray[np.bool_],
        neighbours: int,
    ) -> tuple[Floats, Rows]:
        """Compute the true distances of the proven queries' candidates and keep the nearest."""
        query_of = np.repeat(np.arange(len(queries)), counts)
        kept = proven[query_of]
        query_of, candidates = query_of[kept], candidates[kept]
        true = self._true_distances(queries, query_of, candidates)
        order = np.lexsort((candidates, true, query_of))
        starts = np.searchsorted(query_of[order], np.flatnonzero(proven))
        nearest = order[starts[:, None] + np.arange(neighbours)]
        distances = np.empty((len(queries), neighbours), dtype=np.float32)
        rows = np.empty((len(queries), neighbours), dtype=np.int64)
        distances[proven], rows[proven] = true[nearest], candidates[nearest]
        return distances, rows

    def _true_distances(self, queries: Floats, query_of: Rows, rows: Rows) -> Floats:
        """Compute the squared distances of given (query, row) pairs."""
        faiss = self._faiss
        distances = np.empty(len(rows), dtype=np.float32)
        queries, rows = np.ascontiguousarray(queries), np.ascontiguousarray(rows)
        faiss.pairwise_indexed_L2sqr(
            self._flat.d,
            len(rows),
            faiss.swig_ptr(queries),
            faiss.swig_ptr(np.ascontiguousarray(query_of)),
            faiss.swig_ptr(self._bank),
            faiss.swig_ptr(rows),
            faiss.swig_ptr(distances),
        )
        return distances


def _inverted_file(vectors: Floats) -> Any:
    """Index vectors for quick guesses."""
    import faiss

    cells = max(min(_CELLS, len(vectors) // _VECTORS_PER_CELL), 1)
    index: Any = faiss.index_factory(vectors.shape[1], f"IVF{cells},Flat")
    index.cp.niter = _CLUSTERING_ROUNDS
    index.train(vectors)
    index.add(vectors)
    index.nprobe = _PROBES
    return index


def _principal_axes(bank: Floats, centre: Floats) -> Floats:
    """Return the leading principal axes of the bank as columns, shape [dim, r].

    Any orthonormal axes give true bounds, so that the rounding of this short form does no harm.
    """
    _, axes = np.linalg.eigh(bank.T @ bank - len(bank) * np.outer(centre, centre))
    return np.ascontiguousarray(axes[:, ::-1][:, :LEADING_COORDINATES])
