"""Computes each block by one thread, on all processors of this process.

A BLAS that divides every product waits for its slowest thread, which is costly on a busy machine.
Each block is computed by one thread, so the number of threads changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np

from patchcore_ops.runtime.array_namespace import Array, namespace_of
from patchcore_ops.runtime.process_settings import one_blas_thread
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
    """Start threads for the blocks of a numpy array; BLAS has one thread meanwhile.

    torch has its own threads or a GPU, so its blocks are computed one by one.
    """
    if namespace_of(array) is not np:
        yield _one_by_one
        return
    with one_blas_thread(), ExitStack() as stack:

        @cache
        def threads() -> ThreadPoolExecutor | None:
            count = min(available_processors(), _MOST_THREADS)
            return stack.enter_context(ThreadPoolExecutor(count, "blocks")) if count > 1 else None

        def at_once(function: Callable[[_Block], object], blocks: Iterable[_Block]) -> None:
            several = list(blocks)
            # Starting threads for a single block, such as one image's map, takes longer than it.
            executor = threads() if len(several) > 1 else None
            for _ in (executor.map if executor else map)(function, several):
                pass

        yield at_once


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
    """Compute one number of `dtype` for each row, in parts that bound the memory.

    The result is allocated first: small results between large temporaries fragment the memory.
    """
    values = namespace_of(rows).empty(len(rows), dtype=dtype, device=rows.device)

    def compute(part: slice) -> None:
        values[part] = function(rows[part])

    for_each(compute, blocks(len(rows), _ROWS_PER_PASS))
    return values
