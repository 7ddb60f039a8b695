"""The rows that can be picked next, and the literal greedy loop among a few of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.runtime.array_namespace import Array, kth_largest, namespace_of

# The anchor of a picked row, which never returns.
PICKED = -1.0


class Limit(NamedTuple):
    """The largest squared anchor outside a group of rows, and the lowest row that has it."""

    squared: float
    row: int

    def permits(self, squared: float, row: int) -> bool:
        """Tell whether a row of the group comes before every row outside."""
        return squared > self.squared or (squared == self.squared and row < self.row)


def best_candidates(squared: Array, count: int) -> tuple[Array, Limit]:
    """Find the `count` rows with the largest anchors (the lowest among equals), and the limit."""
    xp = namespace_of(squared)
    if count >= len(squared):
        return xp.arange(len(squared), device=squared.device), Limit(-np.inf, 0)
    threshold = kth_largest(squared, count)
    is_candidate = squared > threshold
    equal = xp.where(squared == threshold)[0]
    is_candidate[equal[: count - int(is_candidate.sum())]] = True
    others = xp.where(is_candidate, -xp.inf, squared)
    row = int(others.argmax())
    return xp.where(is_candidate)[0], Limit(float(others[row]), row)


def pick_among(
    distances: npt.NDArray[np.float32],
    squared: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    limit: Limit,
    wanted: int,
) -> list[int]:
    """Run the literal greedy loop on a few rows, given all squared distances between them.

    Returns the picked positions in order.
    """
    squared = squared.copy()
    chosen: list[int] = []
    while len(chosen) < wanted:
        best = int(squared.argmax())
        if not limit.permits(float(squared[best]), int(rows[best])):
            break
        chosen.append(best)
        np.minimum(squared, distances[best], out=squared)
        squared[best] = PICKED
    return chosen
