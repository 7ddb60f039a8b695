"""PNG files in one piece: the same pixels, and whatever is not well-formed as it came."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_kit import chunk, png_of

from patchcore_ops import png_chunks
from patchcore_ops.image_formats import opened
from patchcore_ops.images import load_image
from patchcore_ops.png_chunks import in_one_piece
from patchcore_ops.sections import ImageSize


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    """Take a PNG apart, literally."""
    stream = io.BytesIO(content[8:])
    found = []
    while header := stream.read(8):
        length, kind = struct.unpack(">I4s", header)
        found.append((kind, stream.read(length)))
        stream.read(4)
    return found


def in_pieces(content: bytes, size: int) -> bytes:
    """Write the pixels of a PNG in chunks of some bytes."""
    parts = [content[:8]]
    for kind, body in chunks_of(content):
        pieces = range(0, len(body), size) if kind == b"IDAT" else ()
        parts += [chunk(kind, body[start : start + size]) for start in pieces] or [
            chunk(kind, body)
        ]
    return b"".join(parts)


def png(mode: str = "RGB", side: int = 60, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
@pytest.mark.parametrize("size", [1, 37, 8192])
def test_pixels_are_the_same_in_one_chunk(tmp_path: Path, mode: str, size: int) -> None:
    content = in_pieces(png(mode), size)
    joined = in_one_piece(io.BytesIO(content)).read()
    kinds = [kind for kind, _ in chunks_of(joined)]
    assert kinds.count(b"IDAT") == 1
    assert kinds[-1] == b"IEND"
    before = [each for each in chunks_of(content) if each[0] not in (b"IDAT", b"IEND")]
    assert chunks_of(joined)[: len(before)] == before
    (tmp_path / "x.png").write_bytes(content)
    with Image.open(tmp_path / "x.png") as image:
        expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    loaded = load_image(tmp_path / "x.png", ImageSize(resize=32, imagesize=32))
    np.testing.assert_array_equal(loaded, expected)


def test_a_large_image_is_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(in_pieces(png(side=300), 8192))
    with opened(tmp_path / "x.png", 10**6, in_one_piece=True) as image:
        reads = []
        read = image.load_read  # type: ignore[attr-defined]
        monkeypatch.setattr(
            image, "load_read", lambda size: reads.append(size) or read(size), raising=False
        )
        image.load()
    assert len(reads) == 1


def test_frames_after_the_first_picture_are_left_out() -> None:
    frame = Image.fromarray(np.full((8, 8, 3), 9, dtype=np.uint8))
    stream = io.BytesIO()
    frame.save(stream, "PNG", save_all=True, append_images=[frame.point(lambda v: v + 50)])
    joined = in_one_piece(io.BytesIO(stream.getvalue())).read()
    assert b"fdAT" in stream.getvalue()
    assert b"fdAT" not in joined
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(joined))), np.asarray(frame))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        png()[:50],
        png()[:-300],
        png()[:33] + chunk(b"IEND", b""),
        png()[:33] + struct.pack(">I", 2**31) + png()[37:],
        b"GIF89a" + bytes(100),
    ],
)
def test_what_is_not_well_formed_stays_as_it_is(content: bytes) -> None:
    stream = io.BytesIO(content)
    assert in_one_piece(stream) is stream
    assert stream.read() == content


def stored(content: bytes) -> bytes:
    """Return the stream of pixels that a joined file holds."""
    [pixels] = [
        body
        for kind, body in chunks_of(in_one_piece(io.BytesIO(content)).read())
        if kind == b"IDAT"
    ]
    return pixels


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_pixels_are_inflated(mode: str, interlaced: bool) -> None:
    bits = {"RGB": 24, "L": 8, "1": 1, "P": 8, "RGBA": 32, "I;16": 16}[mode]
    colour = {"RGB": 2, "L": 0, "1": 0, "P": 3, "RGBA": 6, "I;16": 0}[mode]
    depth = {"1": 1, "I;16": 16}.get(mode, 8)
    # The definition: the sizes of the passes are those of slices of the picture.
    picture = np.zeros((13, 11))
    starts = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    parts = (
        [picture[top::down, left::right] for top, left, down, right in starts]
        if interlaced
        else [picture]
    )
    size = sum(len(part) * (1 + -(-part.shape[1] * bits // 8)) for part in parts if part.size)
    pixels = bytes(size)
    content = png_of(11, 13, zlib.compress(pixels), depth, colour, interlaced)
    stream = stored(content)
    assert zlib.decompress(stream) == pixels
    assert len(stream) > len(pixels)


@pytest.mark.parametrize("missing", [-1, 1])
def test_pixels_that_are_not_as_promised_stay_compressed(missing: int) -> None:
    stream = zlib.compress(bytes(5 * 8 - missing))
    assert stored(png_of(7, 5, stream)) == stream


def test_damaged_pixels_stay_as_they_are() -> None:
    stream = zlib.compress(bytes(40))
    for damaged in (stream[:-1] + bytes([stream[-1] ^ 1]), b"abc"):
        assert stored(png_of(7, 5, damaged)) == damaged


def test_a_large_file_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    content = png()
    monkeypatch.setattr(png_chunks, "_MOST_BYTES", len(content) - 1)
    stream = io.BytesIO(content)
    assert in_one_piece(stream) is stream
    monkeypatch.setattr(png_chunks, "_MOST_BYTES", len(content))
    assert in_one_piece(stream) is not stream
