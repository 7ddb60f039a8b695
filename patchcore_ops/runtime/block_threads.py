"""Blocks of a computation, each by one thread, on all processors of this process.

A library's own threads divide every matrix product and wait for each other after it, spinning; the
passes between products have one thread. On a busy machine, where one of the threads is held up,
such products take many times as long. Blocks wait for nobody, and as each is computed by one thread
whatever the number of threads, so that number changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from patchcore_ops.runtime.array_namespace import Array, namespace_of
from patchcore_ops.runtime.processors import available_processors

_Block = TypeVar("_Block")
# Each holds scratch memory, and a BLAS library is built for so many at once.
_MOST_THREADS = 32
_ROWS_PER_PASS = 1 << 12


class ForEach(Protocol):
    """Calls a function with each of some blocks, in any order or at once."""

    def __call__(self, function: Callable[[_Block], object], blocks: Iterable[_Block]) -> None:
        """Return when all calls have; the first error is raised."""


@contextmanager
def block_threads(array: Array) -> Iterator[ForEach]:
    """Start threads for an array of numpy, whose matrix products have one thread each meanwhile.

    torch has threads of its own, or a GPU: its blocks are computed one by one.
    """
    if namespace_of(array) is not np:
        yield _one_by_one
        return
    threads = min(available_processors(), _MOST_THREADS)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads, "blocks") as executor:

        def at_once(function: Callable[[_Block], object], blocks: Iterable[_Block]) -> None:
            for _ in executor.map(function, blocks):
                pass

        yield at_once if threads > 1 else _one_by_one


def _one_by_one(function: Callable[[_Block], object], blocks: Iterable[_Block]) -> None:
    for block in blocks:
        function(block)


def blocks(stop: int, size: int, start: int = 0) -> Iterator[slice]:
    """Divide the rows from `start` to `stop` into slices of `size`, the last of them smaller."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def by_parts(
    rows: Array, dtype: Any, function: Callable[[Array], Array], for_each: ForEach
) -> Array:
    """Compute one number for each row, [N, d] -> [N]; what that takes meanwhile is bounded.

    The place for the numbers is there from the beginning: small results that stay between large
    ones that go would scatter the memory.
    """
    values = namespace_of(rows).empty(len(rows), dtype=dtype, device=rows.device)

    def compute(part: slice) -> None:
        values[part] = function(rows[part])

    for_each(compute, blocks(len(rows), _ROWS_PER_PASS))
    return values
