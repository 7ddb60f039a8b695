"""Opens image files of five formats, recognised by content, within a limit of pixels.

Pillow alone would try forty formats, some of which start programs, and has one global limit.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TypeAlias, TypeVar

from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from patchcore_ops.runtime.errors import DatasetError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
# Beyond it the resized copy of an image, of which only the centre square is used, could fill the
# memory: 256 x 25,600 pixels still take 20 MB.
MAX_ASPECT = 100
# Whoever reads more lines than this has one cause to find, not as many.
NAMED_PROBLEMS = 100

DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
READABLE_MODES = DEEP_MODES | {
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LA", "PA", "RGBX", "RGBa")
}

_Reader: TypeAlias = Callable[[IO[bytes]], ImageFile.ImageFile]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_SIGNATURE_BYTES = 16
# Decoding is what a scan takes its time for, and other steps may be at work beside it.
_READERS = 2


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file that is not on the disk, and what to call it."""

    name: str
    content: bytes


class UnfitImage(Exception):
    """An image that is not damaged but cannot be used; the message is a sentence with a remedy."""


@contextmanager
def opened(source: Path | EncodedImage, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open an image of at most `max_pixels`, after checks of its header; pixels are not decoded.

    The body's own errors pass through. Decode inside `decoding`.
    """
    with ExitStack() as stack:
        with decoding(source):
            stream = stack.enter_context(_bytes_of(source))
            image = _reader(stream)(stream)
            _refuse_large(image, max_pixels, isinstance(source, Path))
            refuse_unfit(image)
        yield image


def _bytes_of(source: Path | EncodedImage) -> IO[bytes]:
    if isinstance(source, EncodedImage):
        if not source.content:
            raise UnfitImage("is empty (0 bytes); send the image itself")
        return BytesIO(source.content)
    status = source.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnfitImage("is not a regular file; replace it by an image or remove it")
    if status.st_size == 0:
        raise UnfitImage("is empty (0 bytes); copy the image again or remove the file")
    return source.open("rb")


@contextmanager
def decoding(source: Path | EncodedImage | str) -> Iterator[None]:
    """Turn every error of reading a file into a DatasetError; put nothing else inside."""
    try:
        yield
    except FileNotFoundError:
        problem = "the file has vanished; materialise image_manifest again"
    except PermissionError as error:
        problem = f"cannot be read ({error.strerror}); let the user who runs this read the file"
    except UnfitImage as unfit:
        problem = str(unfit)
    except MemoryError:
        problem = "needs more memory than there is; reduce the image or lower runtime.num_workers"
    # Decoders raise whatever damaged bytes make them raise, by no documented list.
    except Exception as error:
        what = "read" if isinstance(error, OSError) and error.errno else "decoded as an image"
        problem = f"cannot be {what} ({_reason(error)}); replace or remove the file"
    else:
        return
    name = source.name if isinstance(source, EncodedImage) else source
    raise DatasetError(f"{printable(name)}: {problem}")


def printable(path: Path | str) -> str:
    """Write a path on one line of valid text, with escapes."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def read_all(
    items: Iterable[_Item],
    read: Callable[[_Item], _Result],
    problems: list[str],
    threads: int = _READERS,
) -> dict[_Item, _Result]:
    """Read each item in threads, in order; add what is wrong with those that fail to `problems`."""

    def attempt(item: _Item) -> _Result | DatasetError:
        try:
            return read(item)
        except DatasetError as problem:
            return problem

    items, found = list(items), {}
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as executor:
        for item, result in zip(items, executor.map(attempt, items), strict=True):
            if isinstance(result, DatasetError):
                problems.append(str(result))
            else:
                found[item] = result
    return found


def problem_report(problems: Sequence[str]) -> DatasetError:
    """Make one error of all problems, one a line; count those beyond the first hundred."""
    shown = list(problems[:NAMED_PROBLEMS])
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown):,} more problems")
    return DatasetError("\n".join(shown))


def _reader(stream: IO[bytes]) -> _Reader:
    """Recognise a format by the first bytes of the content."""
    start = stream.read(_SIGNATURE_BYTES)
    stream.seek(0)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if start.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    if start.startswith(tuple(TiffImagePlugin.PREFIXES)):
        return TiffImagePlugin.TiffImageFile
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    raise UnfitImage(
        "is none of PNG, JPEG, BMP, TIFF and WebP by its content; convert it to one of them or "
        "remove the file"
    )


def _refuse_large(image: ImageFile.ImageFile, max_pixels: int, is_file: bool) -> None:
    width, height = image.size
    if width * height > max_pixels:
        has = f"has {width} x {height} = {width * height:,} pixels, more than "
        raise UnfitImage(
            f"{has}dataset.max_pixels ({max_pixels:,}), which a model keeps; raise that, and make "
            "the model again, if the image is what it should be, or reduce the image"
            if is_file
            else f"{has}the limit of {max_pixels:,}; reduce the image"
        )


def refuse_unfit(image: Image.Image) -> None:
    """Refuse an image whose shape or pixels nobody can judge; the error is an UnfitImage."""
    width, height = image.size
    if min(width, height) == 0:
        raise UnfitImage("holds no pixels; replace or remove it")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnfitImage(
            f"has {width} x {height} pixels, more than {MAX_ASPECT} times as long as wide; "
            "cut it into pieces or remove the file"
        )
    if image.mode == "P" and image.palette is None:
        raise UnfitImage("has no palette for its colours; replace or remove the file")
    if image.mode in ("I", "F"):
        raise UnfitImage(
            f"has pixels of 32 bits (mode {image.mode}), of which nobody knows what is white; "
            "save it with 8 or 16 bits a channel"
        )
    if image.mode not in READABLE_MODES:
        raise UnfitImage(
            f"has the colour mode {image.mode}, which cannot be converted to RGB; save it as "
            "greyscale or RGB"
        )


def _reason(error: Exception) -> str:
    """Say what a decoder or the system said, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(printable(str(error).replace("\n", " ")).split()) or type(error).__name__
