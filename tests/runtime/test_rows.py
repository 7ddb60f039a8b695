"""Rows in one file or in several read as the whole array does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from patchcore_ops.runtime.arrays import ArrayFile, ArrayWriter
from patchcore_ops.runtime.rows import (
    ArrayParts,
    RowRange,
    Rows,
    even_bounds,
    open_rows,
    part_file,
)

ROWS = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
CUTS = [0, 5, 5, 6, 20, 23]


@pytest.fixture(params=["float32", "float16"])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Rows, np.ndarray]:
    """Return the array of some files, one of them empty, and what it must hold."""
    whole = tmp_path / "rows.npy"
    for number, (start, stop) in enumerate(pairwise(CUTS)):
        with ArrayWriter(part_file(whole, number), (stop - start, 3), request.param) as writer:
            writer.append(ROWS[start:stop])
    return open_rows(whole), ROWS.astype(request.param).astype(np.float32)


def test_ranges_blocks_and_chosen_rows_are_those_of_the_whole(
    parts: tuple[Rows, np.ndarray],
) -> None:
    rows, expected = parts
    assert (len(rows), rows.shape, rows.dtype) == (23, (23, 3), np.float32)
    for start in range(24):
        for stop in range(25):
            np.testing.assert_array_equal(rows.read(start, stop), expected[start:stop])
    for size in (1, 4, 100):
        blocks = [block.copy() for block in rows.blocks(size)]
        assert max(map(len, blocks)) <= size
        np.testing.assert_array_equal(np.concatenate(blocks), expected)
    for chosen in ([], [22], [6, 5, 4, 20, 4, 0, 19], range(23)):
        numbers = np.array(chosen, dtype=np.int64)
        np.testing.assert_array_equal(rows.take(numbers), expected[numbers])
    with pytest.raises(IndexError, match="beyond its 23"):
        rows.take(np.array([23]))


def test_a_range_of_rows_is_a_slice(parts: tuple[Rows, np.ndarray]) -> None:
    rows, expected = parts
    part, expected = RowRange(rows, 4, 21), expected[4:21]
    assert (len(part), part.shape) == (17, (17, 3))
    np.testing.assert_array_equal(part.read(3, 9), expected[3:9])
    np.testing.assert_array_equal(part.read(10, 99), expected[10:])
    np.testing.assert_array_equal(np.concatenate(list(part.blocks(5))), expected)
    np.testing.assert_array_equal(part.take(np.array([16, 0, 3])), expected[[16, 0, 3]])
    with pytest.raises(IndexError, match="beyond its 17"):
        part.take(np.array([17]))
    with pytest.raises(IndexError, match="has no rows 4 to 24"):
        RowRange(rows, 4, 24)


@pytest.mark.parametrize(("items", "parts"), [(0, 1), (5, 5), (8, 3), (10, 4)])
def test_parts_are_even_and_lose_nothing(items: int, parts: int) -> None:
    bounds = even_bounds(items, parts)
    sizes = [stop - start for start, stop in pairwise(bounds)]
    assert (bounds[0], bounds[-1], len(sizes)) == (0, items, parts)
    assert max(sizes) - min(sizes) <= 1


def test_one_file_is_opened_as_it_is_and_float16_as_float32(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    assert isinstance(open_rows(tmp_path / "rows.npy"), ArrayFile)
    np.save(tmp_path / "half.npy", ROWS.astype(np.float16))
    half = open_rows(tmp_path / "half.npy")
    assert isinstance(half, ArrayParts)
    np.testing.assert_array_equal(half.read(0, 23), ROWS.astype(np.float16).astype(np.float32))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"rows\.npy: is not there, nor are its parts"):
        open_rows(tmp_path / "rows.npy")
    np.save(part_file(tmp_path / "rows.npy", 0), ROWS)
    np.save(part_file(tmp_path / "rows.npy", 1), ROWS[:, :2])
    with pytest.raises(ValueError, match=r"rows-00001\.npy: \(23, 2\) does not continue"):
        open_rows(tmp_path / "rows.npy")
