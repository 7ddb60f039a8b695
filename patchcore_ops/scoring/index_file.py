"""An index in a file of FAISS's own format; a large flat one is written and read by blocks.

Every kind of index begins with its kind, dimension and number of rows. A flat one goes on with a
few numbers more, and with its rows.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcore_ops.scoring.faiss_library import import_faiss

Floats = npt.NDArray[np.float32]

# A larger flat index is searched by blocks of at most so many bytes of rows. While a block is
# searched, as much again holds what the bounds need.
BYTES_AT_ONCE = 512 * 2**20

_START: Final = struct.Struct("<4siq")
# Kind, dimension, rows, two numbers that FAISS ignores, whether it is trained, metric, numbers.
FLAT_HEADER: Final = struct.Struct("<4siqqq?iQ")
FLAT_L2: Final = b"IxF2"
METRIC_L2: Final = 1
_IGNORED = 1 << 20


@dataclass(frozen=True)
class IndexFile:
    """An index in a file: where it is, and what its first bytes say."""

    path: Path
    kind: bytes
    dimension: int
    rows: int

    @staticmethod
    def at(path: Path) -> IndexFile:
        """Read the first bytes of an index that `write_index` or `write_flat_index` wrote."""
        with path.open("rb") as stream:
            return IndexFile(path, *_START.unpack(stream.read(_START.size)))

    def blocks(self) -> list[range]:
        """Divide the rows of a large flat index into blocks of equal size; any other is one."""
        count = 1
        if self.kind == FLAT_L2:
            count = max(-(-self.rows * self.dimension * 4 // BYTES_AT_ONCE), 1)
        ends = [self.rows * number // count for number in range(count + 1)]
        return [range(start, stop) for start, stop in pairwise(ends)]

    def read(self, block: range) -> Any:
        """Read one of the blocks as an index of its own."""
        faiss = import_faiss()
        if len(block) == self.rows:
            return read_index(self.path)
        header = io.BytesIO(_flat_header(len(block), self.dimension))
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(FLAT_HEADER.size + block.start * self.dimension * 4)
            # FAISS asks for no more than the header says, and takes less at a time.
            reader = faiss.PyCallbackIOReader(lambda size: header.read(size) or stream.read(size))
            return faiss.read_index(reader)


def read_index(path: Path) -> Any:
    """Read an index from a local file."""
    return import_faiss().read_index(str(path))


def write_index(index: Any, path: Path) -> None:
    """Write an index to a local file, creating its folder."""
    faiss = import_faiss()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        # Given a path, FAISS takes no notice when the last bytes do not fit on the disk.
        faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))


def write_flat_index(
    shape: tuple[int, ...], blocks: Iterable[npt.NDArray[np.floating]], path: Path
) -> None:
    """Write what `write_index` writes of a flat index of squared distances, block by block.

    `shape` is (rows, dimension) of all blocks together.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, dimension = shape
    with path.open("wb") as stream:
        stream.write(_flat_header(rows, dimension))
        for block in blocks:
            stream.write(np.ascontiguousarray(block, dtype="<f4").data)
        if stream.tell() != FLAT_HEADER.size + rows * dimension * 4:
            raise ValueError(f"{path}: {shape} announced, but {stream.tell()} bytes written")


def _flat_header(rows: int, dimension: int) -> bytes:
    return FLAT_HEADER.pack(
        FLAT_L2, dimension, rows, _IGNORED, _IGNORED, True, METRIC_L2, rows * dimension
    )
