"""Arrays on disk: what is written block by block is read back range by range."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from patchcore_ops.runtime import arrays
from patchcore_ops.runtime.arrays import ArrayFile, ArrayWriter

SHAPES = [(0, 3), (1, 1), (7,), (10, 3), (5, 4, 2)]


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 3, 100])
def test_round_trip(tmp_path: Path, shape: tuple[int, ...], block: int) -> None:
    expected = numbers(shape)
    path = tmp_path / "new" / "folder" / "array.npy"
    with ArrayWriter(path, shape) as writer:
        for start in range(0, len(expected), block):
            writer.append(expected[start : start + block])
    np.testing.assert_array_equal(np.load(path), expected)
    stored = ArrayFile(path)
    assert (stored.shape, stored.dtype, len(stored)) == (shape, np.float32, shape[0])
    np.testing.assert_array_equal(stored.read(0, len(stored)), expected)
    blocks = [rows.copy() for rows in stored.blocks(block)]
    assert [len(part) for part in blocks[:-1]] == [block] * (len(blocks) - 1)
    assert sum(len(part) for part in blocks) == len(expected)
    if blocks:
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_blocks_of_any_layout_and_precision_are_written_as_float32(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(4, 6)
    with ArrayWriter(tmp_path / "array.npy", (4, 3)) as writer:
        writer.append(values[:2, ::2])
        writer.append(np.asfortranarray(values[2:, ::2]))
    stored = np.load(tmp_path / "array.npy")
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, values[:, ::2])


@pytest.mark.parametrize("block", [(2, 4), (11, 3), (2,), (2, 3, 1)])
def test_block_that_does_not_continue_the_array_is_refused(
    tmp_path: Path, block: tuple[int, ...]
) -> None:
    with (
        pytest.raises(ValueError, match="does not continue"),
        ArrayWriter(tmp_path / "array.npy", (10, 3)) as writer,
    ):
        writer.append(np.zeros(block, dtype=np.float32))


def test_missing_rows_are_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="4 of 10 rows written"),
        ArrayWriter(tmp_path / "array.npy", (10, 3)) as writer,
    ):
        writer.append(np.zeros((4, 3), dtype=np.float32))


def test_what_is_written_goes_to_the_disk_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr(arrays, "_BYTES_BETWEEN_FLUSHES", 4 * 6)
    monkeypatch.setattr(arrays, "_to_disk", lambda file: sizes.append(os.fstat(file).st_size))
    rows = np.arange(200, dtype=np.float32).reshape(100, 2)
    with ArrayWriter(tmp_path / "x.npy", rows.shape) as writer:
        for row in rows:
            writer.append(row[None])
    assert len(sizes) >= 1
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows)


@pytest.mark.parametrize("rows", [1, 100], ids=["at the end", "at the next flush"])
def test_a_disk_that_fails_meanwhile_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    def fail(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "_BYTES_BETWEEN_FLUSHES", 1)
    monkeypatch.setattr(arrays, "_to_disk", fail)
    with (
        pytest.raises(OSError, match="No space left"),
        ArrayWriter(tmp_path / "x.npy", (rows, 2)) as writer,
    ):
        for _ in range(rows):
            writer.append(np.zeros((1, 2), dtype=np.float32))


def test_an_error_while_writing_is_not_hidden(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError, match="the cause"),
        ArrayWriter(tmp_path / "array.npy", (10, 3)),
    ):
        raise KeyError("the cause")


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 4), (3, 9), (6, 100), (10, 12), (20, 25), (5, 2)]
)
def test_range_equals_a_slice(tmp_path: Path, start: int, stop: int) -> None:
    expected = numbers((10, 3))
    np.save(tmp_path / "array.npy", expected)
    part = ArrayFile(tmp_path / "array.npy").read(start, stop)
    np.testing.assert_array_equal(part, expected[start:stop])


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8, np.bool_])
def test_other_types_are_read_as_they_are(tmp_path: Path, dtype: type) -> None:
    expected = (numbers((10, 3)) > 0).astype(dtype)
    np.save(tmp_path / "array.npy", expected)
    part = ArrayFile(tmp_path / "array.npy").read(2, 8)
    assert part.dtype == dtype
    np.testing.assert_array_equal(part, expected[2:8])


@pytest.mark.parametrize("rows_per_block", [1, 4, 16384])
@pytest.mark.parametrize("few", [1, 1000])
@pytest.mark.parametrize("rows", [[], [9], [3, 3, 0], [9, 8, 7, 0, 1, 2, 4, 4, 9], [4, 5, 6, 7]])
def test_take_equals_fancy_indexing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_block: int, few: int, rows: list[int]
) -> None:
    monkeypatch.setattr(arrays, "ROWS_PER_BLOCK", rows_per_block)
    monkeypatch.setattr(arrays, "_FEW", few)
    expected = numbers((10, 3))
    np.save(tmp_path / "array.npy", expected)
    chosen = np.array(rows, dtype=np.int64)
    taken = ArrayFile(tmp_path / "array.npy").take(chosen)
    np.testing.assert_array_equal(taken, expected[chosen])


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"Object arrays|Array can't be memory-mapped"):
        ArrayFile(tmp_path / "array.npy")


@pytest.mark.parametrize("row", [-1, 10])
def test_rows_beyond_the_end_are_refused(tmp_path: Path, row: int) -> None:
    np.save(tmp_path / "array.npy", numbers((10, 3)))
    with pytest.raises(IndexError, match="beyond its 10"):
        ArrayFile(tmp_path / "array.npy").take(np.array([0, row]))
