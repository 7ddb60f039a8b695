"""A PNG is whole if and only if every row is there, wherever the parts it is inflated in end."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from png_kit import png_of

from patchcore_ops import png_integrity
from patchcore_ops.png_integrity import check_png

WIDTH = 63


def grey_png(rows: int, pixels: bytes, level: int) -> bytes:
    """Write a grey PNG that promises so many rows of 64 bytes, the filter's byte among them."""
    return png_of(WIDTH, rows, zlib.compress(pixels, level))


@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("content", ["even", "noise"])
@pytest.mark.parametrize("block", [500, 1024, 4096, 2**20])
def test_whole_files_are_told_from_files_without_their_last_byte(
    monkeypatch: pytest.MonkeyPatch, level: int, content: str, block: int
) -> None:
    monkeypatch.setattr(png_integrity, "_BLOCK_BYTES", block)
    generator = np.random.default_rng(0)
    for rows in (1, 7, 8, 9, 15, 16, 17, 18, 64, 65, 66, 100):
        size = rows * (WIDTH + 1)
        pixels = bytes(size) if content == "even" else generator.bytes(size)
        check_png(io.BytesIO(grey_png(rows, pixels, level)))
        with pytest.raises(ValueError, match="bytes of pixels are there"):
            check_png(io.BytesIO(grey_png(rows, pixels[:-1], level)))


@pytest.mark.parametrize("beyond", [1, 2, 100, 257, 258, 259, 1000, 40_000])
def test_what_the_library_holds_back_at_the_end_of_a_part_counts(beyond: int) -> None:
    rows = 1 + (2**20 + beyond) // (WIDTH + 1)
    check_png(io.BytesIO(grey_png(rows, bytes(rows * (WIDTH + 1)), 6)))
