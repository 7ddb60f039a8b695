"""Arrays on disk: what is written block by block is read back range by range."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from patchcore_ops.runtime import arrays
from patchcore_ops.runtime.arrays import ArrayFile, ArrayWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "array.npy"


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def stored(path: Path, array: np.ndarray) -> ArrayFile:
    path.parent.mkdir()
    np.save(path, array)
    return ArrayFile(path)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7,), (10, 3), (5, 4, 2)])
@pytest.mark.parametrize("block", [1, 3, 100])
def test_round_trip(path: Path, shape: tuple[int, ...], block: int) -> None:
    expected = numbers(shape)
    # Of any layout and precision.
    given = np.asfortranarray(np.repeat(expected, 2, axis=-1).astype(np.float64))[..., ::2]
    with ArrayWriter(path, shape) as writer:
        for start in range(0, len(expected), block):
            writer.append(given[start : start + block])
    written = np.load(path)
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, expected)
    file = ArrayFile(path)
    assert (file.shape, file.dtype, len(file)) == (shape, np.float32, shape[0])
    blocks = [rows.copy() for rows in file.blocks(block)]
    assert [len(part) for part in blocks[:-1]] == [block] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate([*blocks, expected[:0]]), expected)


@pytest.mark.parametrize("block", [(2, 4), (11, 3), (2,), (2, 3, 1), (4, 3)])
def test_blocks_that_do_not_make_up_the_array_are_refused(
    path: Path, block: tuple[int, ...]
) -> None:
    sentence = "4 of 10 rows written" if block == (4, 3) else "does not continue"
    with pytest.raises(ValueError, match=sentence), ArrayWriter(path, (10, 3)) as writer:
        writer.append(np.zeros(block, dtype=np.float32))


def test_what_is_written_goes_to_the_disk_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr(arrays, "_BYTES_BETWEEN_FLUSHES", 4 * 6)
    monkeypatch.setattr(arrays, "_to_disk", lambda file: sizes.append(os.fstat(file).st_size))
    rows = numbers((100, 2))
    with ArrayWriter(path, rows.shape) as writer:
        for row in rows:
            writer.append(row[None])
    assert len(sizes) >= 1
    np.testing.assert_array_equal(np.load(path), rows)


@pytest.mark.parametrize("rows", [1, 100], ids=["at the end", "at the next flush"])
def test_an_error_meanwhile_is_not_hidden(
    path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    def fail(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "_BYTES_BETWEEN_FLUSHES", 1)
    monkeypatch.setattr(arrays, "_to_disk", fail)
    with pytest.raises(OSError, match="No space left"), ArrayWriter(path, (rows, 2)) as writer:
        for _ in range(rows):
            writer.append(np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(KeyError, match="the cause"), ArrayWriter(path, (10, 3)):
        raise KeyError("the cause")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool_])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 4), (3, 9), (6, 100), (10, 12), (20, 25), (5, 2)]
)
def test_a_range_equals_a_slice(path: Path, start: int, stop: int, dtype: type) -> None:
    expected = (10 * numbers((10, 3))).astype(dtype)
    part = stored(path, expected).read(start, stop)
    assert part.dtype == dtype
    np.testing.assert_array_equal(part, expected[start:stop])


@pytest.mark.parametrize("rows_per_block", [1, 4, 16384])
@pytest.mark.parametrize("few", [1, 1000])
@pytest.mark.parametrize("rows", [[], [9], [3, 3, 0], [9, 8, 7, 0, 1, 2, 4, 4, 9], [4, 5, 6, 7]])
def test_take_equals_fancy_indexing(
    path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_block: int, few: int, rows: list[int]
) -> None:
    monkeypatch.setattr(arrays, "ROWS_PER_BLOCK", rows_per_block)
    monkeypatch.setattr(arrays, "_FEW", few)
    expected, chosen = numbers((10, 3)), np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(stored(path, expected).take(chosen), expected[chosen])


def test_files_that_cannot_be_read_safely_are_refused(path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"Object arrays|Array can't be memory-mapped"):
        ArrayFile(tmp_path / "array.npy")
    np.save(tmp_path / "array.npy", np.asfortranarray(numbers((10, 3))))
    with pytest.raises(ValueError, match="not in C order"):
        ArrayFile(tmp_path / "array.npy")
    file = stored(path, numbers((10, 3)))
    for row in (-1, 10):
        with pytest.raises(IndexError, match="beyond its 10"):
            file.take(np.array([0, row]))
    os.truncate(path, path.stat().st_size - 1)
    for read in (lambda: file.read(0, 10), lambda: list(file.blocks()), lambda: file.take(LAST)):
        with pytest.raises(EOFError, match="ends before its 10 rows do"):
            read()


LAST = np.array([9])
