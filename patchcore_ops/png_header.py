"""What the header of a PNG file promises."""

from __future__ import annotations

import struct

HEADER_BYTES = 13
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row, and step in x and y, of Adam7's seven passes.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def pixel_bytes(header: bytes) -> int:
    """Return how many bytes the pixels take uncompressed, each row with its filter byte.

    Parameters
    ----------
    header : bytes
        The content of the chunk IHDR.

    Raises
    ------
    KeyError, struct.error
        If it is none.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS[colour]
    if not interlaced:
        return int(height * (1 + (width * bits + 7) // 8))
    total = 0
    for left, top, step_x, step_y in _PASSES:
        columns = max(-(-(width - left) // step_x), 0)
        rows = max(-(-(height - top) // step_y), 0)
        if columns:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
