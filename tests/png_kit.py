"""PNG files written by hand, whose checksums are right whatever they hold."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    """Write one chunk."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_of(
    width: int,
    height: int,
    stream: bytes,
    depth: int = 8,
    colour: int = 0,
    interlaced: bool = False,
) -> bytes:
    """Write a file that promises so many pixels, grey by default, and holds a stream."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
