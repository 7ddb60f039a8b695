"""Valid image files of every format, and ways of damaging them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 28, 20
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65500)


def seeds() -> Mapping[str, bytes]:
    """Return small valid files by name: format, colour mode and coding."""
    files = {}
    for mode in ("RGB", "L", "1", "P", "RGBA", "LA"):
        files[f"png {mode}"] = _saved(_picture(mode), "PNG")
    files["png stored"] = _saved(_picture("RGB"), "PNG", compress_level=0)
    files["png 16 bit"] = _saved(_deep(), "PNG")
    files["png animated"] = _saved(
        _picture("RGB"), "PNG", save_all=True, append_images=[_picture("RGB", 1)]
    )
    files["png exif"] = _saved(_picture("L"), "PNG", exif=_turned())
    for mode in ("RGB", "L", "CMYK"):
        files[f"jpeg {mode}"] = _saved(_picture(mode), "JPEG")
    files["jpeg progressive"] = _saved(_picture("RGB"), "JPEG", progressive=True, exif=_turned())
    for mode in ("RGB", "L", "1", "P", "RGBA"):
        files[f"bmp {mode}"] = _saved(_picture(mode), "BMP")
    for mode in ("RGB", "L", "1", "P", "CMYK", "RGBA", "F", "I", "LAB"):
        files[f"tiff {mode}"] = _saved(_picture(mode), "TIFF")
    files["tiff 16 bit"] = _saved(_deep(), "TIFF")
    for coding in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        files[f"tiff {coding}"] = _saved(_picture("RGB"), "TIFF", compression=coding)
    files["tiff group4"] = _saved(_picture("1"), "TIFF", compression="group4")
    files["tiff pages"] = _saved(
        _picture("L"), "TIFF", save_all=True, append_images=[_picture("L", 1)]
    )
    for name, options in (("lossy", {}), ("lossless", {"lossless": True})):
        files[f"webp {name}"] = _saved(_picture("RGB"), "WEBP", **options)
    files["webp alpha"] = _saved(_picture("RGBA"), "WEBP")
    files["webp animated"] = _saved(
        _picture("RGB"), "WEBP", save_all=True, append_images=[_picture("RGB", 1)]
    )
    return files


def mutate(content: bytes, chance: random.Random, others: Mapping[str, bytes]) -> bytes:
    """Damage a file in one to three of the ways below."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        chance.choice(_WAYS)(damaged, chance, others)
    if damaged.startswith(b"\x89PNG") and chance.random() < 0.7:
        # Otherwise a wrong checksum would hide from the decoder nearly all that follows.
        return with_checksums(bytes(damaged))
    return bytes(damaged)


def with_checksums(content: bytes) -> bytes:
    """Put the right checksum behind every chunk of a PNG file, as far as there are chunks."""
    parts = [content[:8]]
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        parts.extend((content[at:end], struct.pack(">I", zlib.crc32(content[at + 4 : end]))))
        at = end + 4
    return b"".join([*parts, content[at:]])


def _flip_bits(content: bytearray, chance: random.Random, _others: Mapping[str, bytes]) -> None:
    for _ in range(chance.randint(1, 16) if content else 0):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _truncate(content: bytearray, chance: random.Random, _others: Mapping[str, bytes]) -> None:
    del content[chance.randint(0, len(content)) :]


def _splice(content: bytearray, chance: random.Random, others: Mapping[str, bytes]) -> None:
    other = others[chance.choice(sorted(others))]
    start = chance.randrange(len(other))
    piece = other[start : start + chance.randint(1, 200)]
    at = chance.randint(0, len(content))
    content[at : at + chance.choice((0, len(piece)))] = piece


def _randomise_header(
    content: bytearray, chance: random.Random, _others: Mapping[str, bytes]
) -> None:
    # The signature stays, so that the decoder is reached.
    for at in range(8, min(chance.randint(16, 80), len(content))):
        if chance.random() < 0.2:
            content[at] = chance.randrange(256)


def _set_extreme(content: bytearray, chance: random.Random, _others: Mapping[str, bytes]) -> None:
    value, order = chance.choice(_EXTREMES), chance.choice("<>")
    packed = struct.pack(f"{order}I", value)[: chance.choice((2, 4))]
    reach = len(content) if chance.random() < 0.5 else min(len(content), 60)
    at = chance.randint(0, reach)
    content[at : at + len(packed)] = packed


def _repeat(content: bytearray, chance: random.Random, _others: Mapping[str, bytes]) -> None:
    start = chance.randint(0, len(content))
    piece = content[start : start + chance.randint(1, 100)]
    content[start:start] = piece * chance.randint(1, 50)


def _remove(content: bytearray, chance: random.Random, _others: Mapping[str, bytes]) -> None:
    start = chance.randint(0, len(content))
    del content[start : start + chance.randint(1, 60)]


_WAYS: tuple[Callable[[bytearray, random.Random, Mapping[str, bytes]], None], ...] = (
    _flip_bits,
    _flip_bits,
    _truncate,
    _splice,
    _randomise_header,
    _set_extreme,
    _repeat,
    _remove,
)


def _picture(mode: str, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if mode == "LAB":
        return Image.frombytes("LAB", (WIDTH, HEIGHT), pixels.tobytes())
    if mode == "LA":
        return Image.fromarray(pixels).convert("L").convert("LA")
    return Image.fromarray(pixels).convert(mode)


def _deep() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    return Image.fromarray(values)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
