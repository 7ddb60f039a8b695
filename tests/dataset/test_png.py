"""PNG files: the pixels that the format's definition gives, and none of a damaged file."""

from __future__ import annotations

import io
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile
from png_kit import chunk, png_of

from patchcore_ops.dataset.png import decoded

GREY, RGB = 0, 2
CHANNELS = {GREY: 1, RGB: 3}


def paeth(left: int, above: int, corner: int) -> int:
    """Choose the neighbour that is nearest to left + above - corner, as the format defines it."""
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


def filtered(pixels: npt.NDArray[np.uint8], filters: list[int]) -> bytes:
    """Filter rows one byte at a time, by the format's definition."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels).astype(int)
    stream = bytearray()
    for y in range(height):
        stream.append(filters[y])
        for x in range(width * channels):
            left = rows[y, x - channels] if x >= channels else 0
            above = rows[y - 1, x] if y else 0
            corner = rows[y - 1, x - channels] if y and x >= channels else 0
            guess = (0, left, above, (left + above) // 2, paeth(left, above, corner))[filters[y]]
            stream.append((rows[y, x] - guess) % 256)
    return bytes(stream)


def opened(content: bytes) -> ImageFile.ImageFile:
    return PngImageFile(io.BytesIO(content))


@pytest.mark.parametrize("colour", [GREY, RGB])
@pytest.mark.parametrize("width", [1, 2, 16, 37])
def test_every_filter_gives_the_pixels_back(colour: int, width: int) -> None:
    rng = np.random.default_rng(width)
    pixels = rng.integers(0, 256, (25, width, CHANNELS[colour]), dtype=np.uint8)
    filters = [0, 1, 2, 3, 4, *rng.integers(0, 5, 20).tolist()]
    content = png_of(width, 25, zlib.compress(filtered(pixels, filters)), colour=colour)
    image = decoded(opened(content))
    assert not isinstance(image, ImageFile.ImageFile)
    assert image.mode == {GREY: "L", RGB: "RGB"}[colour]
    np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_what_stands_before_the_pixels_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    content = png_of(7, 9, zlib.compress(filtered(pixels, [4] * 9)), colour=RGB)
    remarks = chunk(b"gAMA", b"\x00\x01\x86\xa0") + chunk(b"tRNS", b"\0\1\0\2\0\3")
    image = decoded(opened(content[:33] + remarks + content[33:]))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("depth", "colour"), [(1, 0), (2, 0), (4, 0), (16, 0), (16, 2), (8, 3), (8, 4), (8, 6)]
)
def test_other_kinds_are_what_pillow_makes_of_them(depth: int, colour: int) -> None:
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(depth + colour)
    rows = [b"\0" + rng.bytes(-(-7 * bits // 8)) for _ in range(5)]
    stream = zlib.compress(b"".join(rows))
    content = png_of(7, 5, stream, depth, colour)
    if colour == 3:
        content = content[:33] + chunk(b"PLTE", rng.bytes(3 * 256)) + content[33:]
    image, expected = decoded(opened(content)), Image.open(io.BytesIO(content))
    assert (image.mode, image.size) == (expected.mode, expected.size)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (zlib.compress(bytes(5 * 8 - 1)), "Not enough image data"),
        (zlib.compress(bytes([9]) + bytes(5 * 8 - 1)), "bad adaptive filter value"),
        (zlib.compress(bytes(5 * 8))[:-1] + b"\0", "incorrect data check"),
        (b"abc", "incorrect header check"),
    ],
    ids=["too short", "no such filter", "wrong checksum", "no stream"],
)
@pytest.mark.parametrize("colour", [0, 3])
def test_damaged_pixels_are_refused(stream: bytes, said: str, colour: int) -> None:
    content = png_of(7, 5, stream, colour=colour)
    if colour == 3:  # Pillow makes the picture, but not of what is damaged.
        content = content[:33] + chunk(b"PLTE", bytes(3)) + content[33:]
    with pytest.raises(RuntimeError, match=said):
        decoded(opened(content))


def test_interlaced_pixels_are_those_of_pillow() -> None:
    # Seven passes, each with rows and filters of its own; random bytes filtered by None.
    sizes = [(2, 2), (2, 1), (1, 3), (3, 3), (3, 6), (6, 5), (5, 11)]
    rng = np.random.default_rng(1)
    passes = [
        b"".join(b"\0" + rng.bytes(3 * width) for _ in range(height)) for height, width in sizes
    ]
    content = png_of(11, 11, zlib.compress(b"".join(passes)), colour=RGB, interlaced=True)
    image = decoded(opened(content))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(content))))


def test_what_libpng_doubts_of_a_whole_file_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = png_of(1, 1, zlib.compress(b"\0\x07"), interlaced=True)
    content = plain[:33] + chunk(b"sBIT", b"\4\4\4") + plain[33:]
    assert np.asarray(decoded(opened(content))).tolist() == [[7]]
    assert caplog.records == []


def test_a_large_file_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = png_of(7, 5, zlib.compress(bytes(40)))
    monkeypatch.setattr("patchcore_ops.dataset.png._MOST_BYTES", len(content) - 1)
    image = opened(content)
    assert decoded(image) is image
    assert np.asarray(image).shape == (5, 7)
