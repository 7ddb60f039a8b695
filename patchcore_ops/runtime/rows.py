"""Rows of float32 on disk: one .npy file, or several that continue each other.

A file may hold float16, to take half the space; it is read as float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from patchcore_ops.runtime.arrays import ROWS_PER_BLOCK, ArrayFile


class Rows(Protocol):
    """What `ArrayFile`, `ArrayParts` and `RowRange` have in common."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read the rows from `start` to `stop`, which may lie beyond the end."""

    def blocks(self, rows: int = ROWS_PER_BLOCK) -> Iterator[npt.NDArray[Any]]:
        """Yield `rows` rows at a time, in order; blocks may share one buffer."""
        for start in range(0, len(self), rows):
            yield self.read(start, start + rows)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Gather rows in the given order."""


def open_rows(path: Path) -> Rows:
    """Open the rows of `name.npy`, or of its parts `name-00000.npy`, `name-00001.npy`, ...

    Raises FileNotFoundError if there is neither.
    """
    if path.is_file():
        file = ArrayFile(path)
        return file if file.dtype == np.float32 else ArrayParts(path, [file])
    if parts := part_files(path):
        return ArrayParts(path, [ArrayFile(part) for part in parts])
    raise FileNotFoundError(f"{path}: is not there, nor are its parts")


def even_bounds(items: int, parts: int) -> list[int]:
    """Return where parts of so many items begin, and the end; their sizes differ by one at most."""
    return [items * part // parts for part in range(parts + 1)]


def row_files(path: Path) -> list[Path]:
    """Return the files that hold the rows of `name.npy`, in order."""
    return [path] if path.is_file() else part_files(path)


def part_file(path: Path, part: int) -> Path:
    """Return the name of a part of `name.npy`, counted from 0."""
    return path.with_name(f"{path.stem}-{part:05}{path.suffix}")


def part_files(path: Path) -> list[Path]:
    """Return the parts of `name.npy` that are there, in order."""
    return sorted(path.parent.glob(f"{path.stem}-[0-9]*{path.suffix}"))


class ArrayParts(Rows):
    """Files whose rows continue each other, read as one array of float32."""

    def __init__(self, path: Path, parts: Sequence[ArrayFile]) -> None:
        self.path = path
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        for part in parts:
            if part.shape[1:] != self.shape[1:]:
                raise ValueError(f"{part.path}: {part.shape} does not continue {self.shape}")

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read the rows from `start` to `stop`, which may lie beyond the end."""
        rows = np.empty((max(min(stop, len(self)) - start, 0), *self.shape[1:]), dtype=self.dtype)
        for part, (first, last) in zip(self._parts, pairwise(self._starts.tolist()), strict=True):
            low, high = max(start, first), min(stop, last)
            if low < high:
                rows[low - start : high - start] = part.read(low - first, high - first)
        return rows

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Gather rows in the given order."""
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"{self.path}: asked for rows beyond its {len(self)}")
        gathered = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(part_of == number)
            if len(places):
                gathered[places] = part.take(rows[places] - self._starts[number])
        return gathered


class RowRange(Rows):
    """The rows from `start` to `stop` of others."""

    def __init__(self, rows: Rows, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(rows):
            raise IndexError(f"{rows.path}: has no rows {start} to {stop}")
        self.path = rows.path
        self.shape: tuple[int, ...] = (stop - start, *rows.shape[1:])
        self.dtype = rows.dtype
        self._rows = rows
        self._start = start

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read the rows from `start` to `stop`, which may lie beyond the end."""
        return self._rows.read(self._start + start, self._start + min(stop, len(self)))

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Gather rows in the given order."""
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"{self.path}: asked for rows beyond its {len(self)}")
        return self._rows.take(rows + self._start)
