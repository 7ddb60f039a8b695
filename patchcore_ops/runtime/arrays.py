"""Arrays on disk (.npy), written and read in blocks so that memory stays bounded.

Memory maps are not used: the pages they touch count as memory of the process.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

ROWS_PER_BLOCK = 8192
# One row in so many, or fewer, are sought rather than passed.
_FEW = 6
_BYTES_BETWEEN_FLUSHES = 64 * 2**20


class ArrayWriter:
    """Writes an array of known shape to `path`, block by block along its first axis.

    Of float32, or of float16 to take half the space. Written bytes are flushed in a thread, or the
    final fsync would wait for the whole file.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        precision: Literal["float32", "float16"] = "float32",
    ) -> None:
        self.path = path
        self.shape = shape
        self._dtype = np.dtype(precision).newbyteorder("<")
        self._written = 0
        self._unflushed = 0
        self._flush: Future[None] | None = None

    def __enter__(self) -> ArrayWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="flushing")
        self._stream = self.path.open("wb")
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._stream, header)
        return self

    def append(self, block: npt.NDArray[np.float32]) -> None:
        """Write the next rows; `block` has shape [rows, *shape[1:]]."""
        if block.shape[1:] != self.shape[1:] or self._written + len(block) > self.shape[0]:
            raise ValueError(f"{self.path}: {block.shape} does not continue {self.shape}")
        stored = np.ascontiguousarray(block, dtype=self._dtype)
        self._stream.write(stored.data)
        self._written += len(block)
        self._unflushed += stored.nbytes
        if self._unflushed >= _BYTES_BETWEEN_FLUSHES and self._is_flushed():
            self._flush = self._flusher.submit(_to_disk, self._stream.fileno())
            self._unflushed = 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._flusher.shutdown()
        self._stream.close()
        if kind is None and self._flush is not None:
            self._flush.result()
        if kind is None and self._written != self.shape[0]:
            raise ValueError(f"{self.path}: {self._written} of {self.shape[0]} rows written")

    def _is_flushed(self) -> bool:
        """Tell whether the last flush is over; raise its error if it failed."""
        if self._flush is None:
            return True
        if not self._flush.done():
            return False
        self._flush.result()
        return True


def _to_disk(file: int) -> None:
    # Not everywhere is there a way to flush the content alone.
    getattr(os, "fdatasync", os.fsync)(file)


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a .npy file; unlike `numpy.save`, fail if the last bytes do not fit on the disk."""
    contiguous = np.ascontiguousarray(array)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, np.lib.format.header_data_from_array_1_0(contiguous)
        )
        stream.write(contiguous.data)


class ArrayFile:
    """Reads row ranges of a .npy file in C order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if not mapped.flags.c_contiguous:
            raise ValueError(f"{path}: is not in C order")
        self.shape: tuple[int, ...] = mapped.shape
        self.dtype: np.dtype[Any] = mapped.dtype
        self._offset: int = mapped.offset
        self._row_bytes = mapped.itemsize * math.prod(mapped.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read the rows from `start` to `stop`, which may lie beyond the end."""
        rows = np.empty((max(min(stop, len(self)) - start, 0), *self.shape[1:]), dtype=self.dtype)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self._offset + start * self._row_bytes)
            self._fill(stream, rows)
        return rows

    def blocks(self, rows: int = ROWS_PER_BLOCK) -> Iterator[npt.NDArray[Any]]:
        """Yield `rows` rows at a time, in order; all blocks share one buffer."""
        buffer = np.empty((min(rows, len(self)), *self.shape[1:]), dtype=self.dtype)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self._offset)
            for start in range(0, len(self), rows):
                block = buffer[: len(self) - start]
                self._fill(stream, block)
                yield block

    def _fill(self, stream: io.RawIOBase, block: npt.NDArray[Any]) -> None:
        """Read until the block is full; a raw read may return less than was asked for."""
        missing = memoryview(block.view(np.uint8).reshape(-1))  # type: ignore[arg-type]
        while len(missing) > 0:
            count = stream.readinto(missing)
            if not count:
                raise EOFError(f"{self.path}: ends before its {len(self)} rows do")
            missing = missing[count:]

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Gather rows in the given order: one by one if they are few, else in one pass."""
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"{self.path}: asked for rows beyond its {len(self)}")
        gathered = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        # Ascending, so that the system reads ahead in the right direction.
        order = np.argsort(rows, kind="stable")
        if len(rows) * _FEW < len(self):
            self._take_singly(rows, order, gathered)
        else:
            self._take_in_one_pass(rows, order, gathered)
        return gathered

    def _take_singly(
        self, rows: npt.NDArray[np.int64], order: npt.NDArray[np.int64], gathered: npt.NDArray[Any]
    ) -> None:
        with self.path.open("rb", buffering=0) as stream:
            for position in order.tolist():
                stream.seek(self._offset + int(rows[position]) * self._row_bytes)
                self._fill(stream, gathered[position : position + 1])

    def _take_in_one_pass(
        self, rows: npt.NDArray[np.int64], order: npt.NDArray[np.int64], gathered: npt.NDArray[Any]
    ) -> None:
        ascending = rows[order]
        start = first = 0
        for block in self.blocks():
            last = int(np.searchsorted(ascending, start + len(block)))
            gathered[order[first:last]] = block[ascending[first:last] - start]
            start, first = start + len(block), last
