"""Lower bounds on distances to the rows of a bank, from few coordinates.

Rotate everything by the bank's principal axes and split a vector into its first r coordinates and
the rest. The triangle inequality on the rest gives

    |q - x|^2  >=  |q_r - x_r|^2 + (|q_rest| - |x_rest|)^2,

a squared distance in r + 1 dimensions that never exceeds the true one. Which rows' bounds do not
exceed a query's own limit u is one FAISS search, because three more coordinates turn the condition
into the sign of an inner product:

    |a - b|^2 <= u   <=>   a.b - |b|^2 / 2 + (u - |a|^2) / 2 >= 0.

All of it is float32, so that a row is excluded up to rounding, not by proof. A row within the limit
has |b| <= |a| + sqrt(u), and the sum of r + 3 products is then off by no more than
3 (r + 3) 2^-24 (|a|^2 + u), whatever their order: 4e-5 of |a|^2 + u for r = 192, if every rounding
goes the same way. They do not, and sqrt(r + 3) in the place of r + 3 gives 2.5e-6. Reducing a
vector of 1,024 dimensions is likewise off by some 2e-6 of its norm a coordinate, not by the 6e-5 of
the worst case, with which bounds would exclude little. The margin is eight times what is typical.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from patchcore_ops.scoring.faiss_library import import_faiss

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_ROWS_PER_BLOCK = 1024
# Relative to the squared norm and the limit, see above.
_ROUNDING = 2e-5


class PrincipalAxes:
    """A bank's centre and its leading principal axes.

    Any orthonormal axes give true bounds, so that the rounding of this short form does no harm.
    """

    def __init__(self, bank: Floats, count: int) -> None:
        self._centre = bank.mean(axis=0)
        scatter = bank.T @ bank - len(bank) * np.outer(self._centre, self._centre)
        first = len(scatter) - count
        _, axes = eigh(scatter, subset_by_index=[first, len(scatter) - 1], check_finite=False)
        self._axes = np.ascontiguousarray(axes[:, ::-1])

    def reduce(self, vectors: Floats) -> Floats:
        """Map vectors to their leading coordinates and the norm of the rest, shape [n, count + 1].

        Block by block, so that no second copy of the vectors is made.
        """
        reduced = np.empty((len(vectors), self._axes.shape[1] + 1), dtype=np.float32)
        for start in range(0, len(vectors), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            centred = vectors[block] - self._centre
            reduced[block, :-1] = leading = centred @ self._axes
            rest = np.einsum("ij,ij->i", centred, centred) - squared_norms(leading)
            reduced[block, -1] = np.sqrt(np.maximum(rest, 0))
        return reduced


def shortened(reduced: Floats, count: int) -> Floats:
    """Keep fewer leading coordinates of reduced vectors; the norm of the rest grows accordingly."""
    leading = reduced[:, :count]
    rest = squared_norms(reduced) - squared_norms(leading)
    return np.hstack([leading, np.sqrt(np.maximum(rest, 0))[:, None]])


def squared_norms(vectors: Floats) -> Floats:
    """Return |v|^2 of each row."""
    squares: Floats = np.einsum("ij,ij->i", vectors, vectors)
    return squares


class BoundedRows:
    """The rows of a bank, reduced, to be compared with limits."""

    def __init__(self, reduced: Floats) -> None:
        self._faiss = faiss = import_faiss()
        half_squares = squared_norms(reduced)[:, None] / 2
        rows = np.hstack([reduced, -half_squares, np.ones_like(half_squares)])
        self._index = faiss.IndexFlatIP(rows.shape[1])
        self._index.add(rows)
        self._rows = faiss.rev_swig_ptr(self._index.get_xb(), rows.size).reshape(rows.shape)

    @staticmethod
    def asked(reduced: Floats, limits: Floats) -> Floats:
        """Extend reduced queries by their limits on the squared distance."""
        squares = squared_norms(reduced)
        margins = np.where(
            np.isfinite(limits), (limits - squares) / 2 + _ROUNDING * (squares + limits), -np.inf
        )
        margins = np.maximum(margins, np.finfo(np.float32).min / 4).astype(np.float32)
        return np.hstack([reduced, np.ones_like(margins)[:, None], margins[:, None]])

    def below(self, asked: Floats) -> tuple[Rows, Rows]:
        """List the rows whose bound does not exceed the query's limit."""
        limits, _, rows = self._index.range_search(asked, 0.0)
        ends = limits.astype(np.int64)
        query_of = np.repeat(np.arange(len(asked)), ends[1:] - ends[:-1])
        # Where nothing is found, FAISS's array has no type to speak of.
        return query_of, rows.astype(np.int64, copy=False)

    def are_below(self, asked: Floats, query_of: Rows, rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell of given pairs whether the row's bound does not exceed the query's limit."""
        products = np.empty(len(rows), dtype=np.float32)
        swig = self._faiss.swig_ptr
        self._faiss.pairwise_indexed_inner_product(
            asked.shape[1],
            len(rows),
            *(swig(asked), swig(query_of), swig(self._rows), swig(rows), swig(products)),
        )
        return products >= 0

    def count_below(self, asked: Floats, sample: int) -> npt.NDArray[np.float64]:
        """Estimate from about `sample` of the rows how many are below each query's limit."""
        step = max(len(self._rows) // sample, 1)
        rows = self._rows[::step]
        found = np.count_nonzero(asked @ rows.T >= 0, axis=1)
        expected: npt.NDArray[np.float64] = found * (len(self._rows) / len(rows))
        return expected
