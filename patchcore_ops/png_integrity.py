"""Whether a PNG file is whole: its checksums, and a row of pixels for each row it promises.

Pillow's own `verify` looks at the checksums alone, and its decoder shows rows that are missing at
the end as black. Counting what the compressed stream holds takes a sixth of the time of decoding:
Intel's library inflates three times as fast as zlib does, also on other processors.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

from isal import isal_zlib

from patchcore_ops.png_header import HEADER_BYTES, pixel_bytes

_SIGNATURE_BYTES = 8
_BLOCK_BYTES = 2**20


def check_png(stream: IO[bytes]) -> None:
    """Read a PNG file to its end, in constant memory.

    Parameters
    ----------
    stream : binary file
        At its beginning; left anywhere.

    Raises
    ------
    ValueError
        If the file is cut off, a chunk's checksum is wrong, or pixels are damaged or missing.
    """
    _read(stream, _SIGNATURE_BYTES)
    pixels: _Pixels | None = None
    while True:
        length, kind = struct.unpack(">I4s", _read(stream, 8))
        if kind == b"IEND":
            break
        checksum = zlib.crc32(kind)
        header = b""
        remaining = length
        while remaining:
            block = _read(stream, min(remaining, _BLOCK_BYTES))
            remaining -= len(block)
            checksum = zlib.crc32(block, checksum)
            if kind == b"IHDR":
                header += block[:HEADER_BYTES]
            elif kind == b"IDAT" and pixels is not None:
                pixels.add(block)
        if struct.unpack(">I", _read(stream, 4))[0] != checksum:
            raise ValueError(f"wrong checksum of the PNG chunk {kind!r}")
        if kind == b"IHDR":
            pixels = _Pixels(pixel_bytes(header))
    if pixels is None:
        raise ValueError("the PNG file has no header")
    pixels.finish()


class _Pixels:
    """Counts the pixels of a compressed stream, keeping none of them.

    Parameters
    ----------
    wanted : int
        How many bytes there should be; no more than about that are inflated.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._inflated = 0
        self._decompressor = isal_zlib.decompressobj()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def add(self, block: bytes) -> None:
        """Take the next part of the stream; small ones are inflated together."""
        self._waiting.append(block)
        self._waiting_bytes += len(block)
        if self._waiting_bytes >= _BLOCK_BYTES:
            self._inflate()

    def finish(self) -> None:
        """See that everything is there.

        Raises
        ------
        ValueError
            If the stream is damaged or ends too early.
        """
        self._inflate()
        if self._inflated < self._wanted:
            raise ValueError(f"{self._inflated:,} of {self._wanted:,} bytes of pixels are there")

    def _inflate(self) -> None:
        block = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        try:
            while self._inflated < self._wanted and not self._decompressor.eof:
                inflated = len(self._decompressor.decompress(block, _BLOCK_BYTES))
                self._inflated += inflated
                block = self._decompressor.unconsumed_tail
                # A full answer may leave more to say though nothing is left to be read.
                if not block and inflated < _BLOCK_BYTES:
                    break
        except isal_zlib.error:  # type: ignore[misc]  # its stubs call it an instance
            raise ValueError("the compressed pixels are damaged") from None


def _read(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise ValueError("the PNG file is cut off")
    return content
