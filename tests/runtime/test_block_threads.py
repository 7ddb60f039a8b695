"""Blocks that threads compute at once, with one thread for each matrix product."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from blas_kit import numpy_threads
from threadpoolctl import threadpool_limits

from patchcore_ops.runtime import block_threads as module
from patchcore_ops.runtime.block_threads import block_threads, blocks, by_parts


@pytest.fixture(params=["1", "3"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("OMP_NUM_THREADS", request.param)
    with threadpool_limits(2, "blas"):
        yield int(request.param)


def test_every_block_is_computed_once_and_products_have_one_thread(threads: int) -> None:
    values = np.zeros(100, dtype=np.int64)
    seen: set[int] = set()

    def compute(block: slice) -> None:
        values[block] += np.arange(block.start, block.stop)
        seen.update(numpy_threads())

    with block_threads(values) as for_each:
        for_each(compute, blocks(100, 7))
    np.testing.assert_array_equal(values, np.arange(100))
    assert seen == {1}
    assert numpy_threads() == {2}


def test_blocks_are_computed_at_once(threads: int) -> None:
    # Each waits for all the others: with fewer threads the barrier would break.
    barrier = threading.Barrier(threads, timeout=30)
    with block_threads(np.zeros(1)) as for_each:
        for_each(lambda _: barrier.wait(), range(threads))


@pytest.mark.usefixtures("threads")
def test_an_error_in_a_block_is_raised() -> None:
    def fail(block: slice) -> None:
        raise ValueError(f"block {block.start}")

    with block_threads(np.zeros(1)) as for_each, pytest.raises(ValueError, match="block 0"):
        for_each(fail, blocks(10, 5))


@pytest.mark.usefixtures("threads")
def test_blocks_of_torch_are_computed_one_by_one() -> None:
    seen = []
    with block_threads(torch.zeros(1)) as for_each:
        for_each(lambda block: seen.append((block, threading.current_thread())), blocks(9, 4))
    here = threading.current_thread()
    assert seen == [(slice(0, 4), here), (slice(4, 8), here), (slice(8, 9), here)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, 3), []),
        ((3, 3), [slice(0, 3)]),
        ((7, 3), [slice(0, 3), slice(3, 6), slice(6, 7)]),
        ((7, 3, 5), [slice(5, 7)]),
        ((5, 3, 5), []),
    ],
)
def test_blocks_cover_the_rows(arguments: tuple[int, ...], expected: list[slice]) -> None:
    assert list(blocks(*arguments)) == expected


@pytest.mark.parametrize("of", [np.asarray, torch.from_numpy])
@pytest.mark.usefixtures("threads")
def test_parts_make_up_the_whole(of: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_PER_PASS", 4)
    rows = of(np.arange(30.0).reshape(10, 3))  # type: ignore[operator]
    dtype = np.float64 if of is np.asarray else torch.float64
    with block_threads(rows) as for_each:
        sums = by_parts(rows, dtype, lambda part: part.sum(axis=1), for_each)
    np.testing.assert_array_equal(np.asarray(sums), np.arange(30.0).reshape(10, 3).sum(axis=1))
