"""The matrix of images: one row an input, with the outcome of docs/input.md."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_kit import png_of
from torchvision import transforms

from patchcore_ops.config.load import section_hash
from patchcore_ops.config.sections import CategoryConfig, ImageSize
from patchcore_ops.dataset import image_inspection as remarks
from patchcore_ops.dataset import load_mask
from patchcore_ops.dataset.image_formats import opened
from patchcore_ops.dataset.images import load_image, load_thumbnail
from patchcore_ops.dataset.manifest import CategoryScan, scan_category
from patchcore_ops.runtime.errors import DatasetError

SIDE = 40
SIZE = ImageSize(resize=32, imagesize=28)
SETTINGS = CategoryConfig(dataset=SIZE)


def noise(mode: str = "RGB", side: int = SIDE, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep(highest: int) -> Image.Image:
    values = np.linspace(0, highest, SIDE * SIDE).round().astype(np.uint16)
    return Image.fromarray(values.reshape(SIDE, SIDE))


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def holed() -> Image.Image:
    image = noise("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def see_through_palette() -> bytes:
    palette = noise("P")
    return saved(palette, transparency=int(np.asarray(palette)[0, 0]))


def several(kind: str, mode: str = "RGB") -> bytes:
    return saved(noise(mode), kind, save_all=True, append_images=[noise(mode, seed=1)])


def grey_png(rows_there: int = SIDE, body: bytes | None = None) -> bytes:
    """Write a PNG by hand, whose checksums are right whatever it holds."""
    rows = np.random.default_rng(0).integers(0, 256, (rows_there, SIDE + 1), dtype=np.uint8)
    rows[:, 0] = 0
    return png_of(SIDE, SIDE, zlib.compress(rows.tobytes()) if body is None else body)


def huge_png(width: int, height: int) -> bytes:
    """Promise many pixels in a hundred bytes."""
    content = bytearray(grey_png())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


# Name of the file, content, remark of the check `images_are_read_as_shown`.
ACCEPTED: dict[str, tuple[str, bytes, str | None]] = {
    "8-bit RGB": ("x.png", saved(noise()), None),
    "greyscale": ("x.png", saved(noise("L")), None),
    "1-bit": ("x.png", saved(noise("1")), None),
    "opaque RGBA": ("x.png", saved(noise("RGBA")), None),
    "RGBA": ("x.png", saved(holed()), remarks.TRANSPARENT),
    "palette with transparency": ("x.png", see_through_palette(), remarks.TRANSPARENT),
    "RGBA in WebP": ("x.webp", saved(holed(), "WEBP", lossless=True), remarks.TRANSPARENT),
    "JPEG": ("x.jpg", saved(noise(), "JPEG"), None),
    "CMYK": ("x.jpg", saved(noise("CMYK"), "JPEG"), None),
    "compressed TIFF": ("x.tiff", saved(noise(), "TIFF", compression="tiff_lzw"), None),
    "BMP": ("x.bmp", saved(noise(), "BMP"), None),
    "EXIF-rotated JPEG": ("x.jpg", saved(noise(), "JPEG", exif=turned()), remarks.TURNED),
    "EXIF-rotated PNG": ("x.png", saved(noise(), exif=turned()), remarks.TURNED),
    "rotated TIFF": ("x.tif", saved(noise(), "TIFF", exif=turned()), None),
    "damaged EXIF": ("x.jpg", saved(noise(), "JPEG", exif=b"Exif\0\0II*\0\xff"), None),
    "animated PNG": ("x.png", several("PNG"), remarks.SEVERAL),
    "animated WebP": ("x.webp", several("WEBP"), remarks.SEVERAL),
    "TIFF of pages": ("x.tif", several("TIFF"), remarks.SEVERAL),
    "JPEG of several": ("x.jpg", several("MPO"), remarks.SEVERAL),
    "smaller than the crop": ("x.png", saved(noise(side=9)), None),
    "wrong extension": ("x.png", saved(noise(), "JPEG"), None),
    "spaces": (" my image .png", saved(noise()), None),
    "unicode": ("Schöne Röhre 图像 \U0001f52c.png", saved(noise()), None),
    "newline": ("two\nlines.png", saved(noise()), None),
    "quotes and markup": ('<b>"it\'s" & ${HOME}.png', saved(noise()), None),
    "last checksum missing": ("x.png", saved(noise())[:-4], None),
}
DEEP: dict[str, tuple[str, bytes, str | None]] = {
    "16-bit PNG": ("x.png", saved(deep(65535)), None),
    "16-bit TIFF": ("x.tif", saved(deep(65535), "TIFF"), None),
    "12 bits in 16": ("x.png", saved(deep(4095)), remarks.DARK),
}
# Name of the file, content, the sentence behind the path.
REMOVE = "; replace or remove the file"
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "zero bytes": ("x.png", b"", "is empty (0 bytes); copy the image again or remove the file"),
    "no palette": ("x.png", png_of(9, 9, zlib.compress(bytes(90)), colour=3), "has no palette"),
    "text": ("x.png", b"not a picture", "is none of PNG, JPEG, BMP, TIFF and WebP by its content"),
    "GIF by another name": ("x.png", saved(noise(), "GIF"), "is none of PNG, JPEG, BMP, TIFF and"),
    "PostScript": ("x.tif", b"%!PS-Adobe-3.0 EPSF-3.0\n", "is none of PNG, JPEG, BMP, TIFF and"),
    "truncated PNG": ("x.png", saved(noise())[:-300], "cannot be decoded as an image ("),
    "truncated in the header": ("x.png", saved(noise())[:20], "cannot be decoded as an image ("),
    "PNG with a wrong byte": (
        "x.png",
        saved(noise())[:90] + b"\0" + saved(noise())[91:],
        "cannot be decoded as an image (broken PNG file (bad header checksum in b'IDAT'))" + REMOVE,
    ),
    "PNG with a wrong note": (
        "x.png",
        saved(noise())[:-4].replace(b"IEND", b"teSt") + bytes(4) + saved(noise())[-12:],
        "cannot be decoded as an image (broken PNG file (bad header checksum in b'teSt'))" + REMOVE,
    ),
    "truncated JPEG": ("x.jpg", saved(noise(), "JPEG")[:700], "cannot be decoded as an image (ima"),
    "truncated TIFF": ("x.tif", saved(noise(), "TIFF")[:900], "cannot be decoded as an image ("),
    "truncated BMP": ("x.bmp", saved(noise(), "BMP")[:900], "cannot be decoded as an image (ima"),
    "truncated WebP": ("x.webp", saved(noise(), "WEBP")[:300], "cannot be decoded as an image ("),
    "32-bit integers": (
        "x.tif",
        saved(noise("I"), "TIFF"),
        "has pixels of 32 bits (mode I), of which nobody knows what is white; save it with 8 or 16 "
        "bits a channel",
    ),
    "floating point": (
        "x.tif",
        saved(noise("F"), "TIFF"),
        "has pixels of 32 bits (mode F), of whi",
    ),
    "LAB": (
        "x.tif",
        saved(Image.frombytes("LAB", (4, 4), bytes(48)), "TIFF"),
        "has the colour mode LAB, which cannot be converted to RGB; save it as greyscale or RGB",
    ),
    "too many pixels": (
        "x.png",
        huge_png(50_000, 40_000),
        "has 50000 x 40000 = 2,000,000,000 pixels, more than dataset.max_pixels (178,956,970), "
        "which a model keeps; raise that, and make the model again, if the image is what it should "
        "be, or reduce the image",
    ),
    "too oblong": (
        "x.png",
        saved(Image.new("L", (505, 5))),
        "has 505 x 5 pixels, more than 100 times as long as wide; cut it into pieces or remove the "
        "file",
    ),
}

# What no decoder minds: a note that nobody reads.
STILL_DECODED = ("PNG with a wrong note",)
# Files whose checksums are right: what is missing shows when they are decoded.
INCOMPLETE = {
    "rows missing": (grey_png(SIDE // 2), "Not enough image data"),
    "no pixels": (grey_png(body=b""), "Not enough image data"),
    "broken pixels": (grey_png(body=b"abc"), "IDAT: incorrect header check"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a sound dataset with the category `nut`, and one defect `cut` with a mask."""
    for at, name in enumerate(("train/good/a", "train/good/b", "test/good/c", "test/cut/d")):
        put(tmp_path, f"{name}.png", saved(noise(seed=at + 10)))
    put(tmp_path, "ground_truth/cut/d_mask.png", saved(Image.new("L", (SIDE, SIDE), 255)))
    return tmp_path


def put(root: Path, name: str, content: bytes) -> Path:
    file = root / "nut" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def scan(root: Path, settings: CategoryConfig = SETTINGS) -> CategoryScan:
    return scan_category(root, "nut", settings=settings)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(DatasetError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "remark"), [*ACCEPTED.values(), *DEEP.values()], ids=[*ACCEPTED, *DEEP]
)
def test_an_accepted_image_is_a_row_with_its_remark(
    root: Path, name: str, content: bytes, remark: str | None
) -> None:
    put(root, f"test/good/{name}", content)
    found = scan(root)
    assert f"nut/test/good/{name}" in found.images["path"].tolist()
    assert [one.remark for one in found.image_remarks] == ([remark] if remark else [])
    assert found.skipped == ()
    assert all("\n" not in one.path for one in found.image_remarks)


@pytest.mark.parametrize(("name", "content"), [row[:2] for row in ACCEPTED.values()], ids=ACCEPTED)
def test_an_accepted_image_has_the_reference_s_pixels(
    tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    steps = [transforms.Resize(SIZE.resize), transforms.CenterCrop(SIZE.imagesize)]
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(transforms.Compose(steps)(image.convert("RGB")))
    np.testing.assert_array_equal(load_image(file, SIZE), expected)


@pytest.mark.parametrize(("name", "content"), [row[:2] for row in DEEP.values()], ids=DEEP)
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.round(np.asarray(image) / 257)
    whole = ImageSize(resize=SIDE, imagesize=SIDE)
    np.testing.assert_array_equal(load_image(file, whole)[..., 1], expected)


@pytest.mark.parametrize(("name", "content", "said"), REFUSED.values(), ids=REFUSED)
def test_a_refused_image_is_one_sentence_with_file_and_remedy(
    root: Path, name: str, content: bytes, said: str
) -> None:
    file = put(root, f"test/good/{name}", content)
    sentence = refusal(lambda: scan(root))
    assert sentence.startswith(f"{file}: {said}")
    assert "\n" not in sentence
    assert any(word in sentence for word in ("remove", "save it", "reduce", "cut it"))


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind not in STILL_DECODED])
def test_what_the_manifest_refuses_is_refused_when_it_is_loaded(tmp_path: Path, kind: str) -> None:
    name, content, _ = REFUSED[kind]
    file = tmp_path / name
    file.write_bytes(content)
    for load in (load_image, load_mask, lambda path, size: load_thumbnail(path, 16)):
        assert refusal(lambda load=load: load(file, SIZE)).startswith(f"{file}: ")


@pytest.mark.parametrize(("content", "said"), INCOMPLETE.values(), ids=INCOMPLETE)
@pytest.mark.parametrize("load", [load_image, load_mask])
def test_a_png_without_all_its_pixels_is_refused_when_it_is_decoded(
    root: Path, content: bytes, said: str, load: Callable[[Path, ImageSize], object]
) -> None:
    file = put(root, "test/good/x.png", content)
    sentence = f"{file}: cannot be decoded as an image ({said}){REMOVE}"
    assert refusal(lambda: load(file, SIZE)) == sentence


def test_the_limit_of_pixels_is_a_setting_for_images_masks_and_thumbnails(root: Path) -> None:
    low = ImageSize(resize=32, imagesize=28, max_pixels=SIDE * SIDE - 1)
    lines = refusal(lambda: scan(root, CategoryConfig(dataset=low))).splitlines()
    assert len(lines) == 5, "four images and a mask"
    assert all(
        "has 40 x 40 = 1,600 pixels, more than dataset.max_pixels (1,599)" in x for x in lines
    )
    file = root / "nut/train/good/a.png"
    assert "max_pixels" in refusal(lambda: load_image(file, low))
    assert "max_pixels" in refusal(lambda: load_thumbnail(file, 16, low.max_pixels))
    exact = ImageSize(resize=32, imagesize=28, max_pixels=SIDE * SIDE)
    assert len(scan(root, CategoryConfig(dataset=exact)).images) == 4


def test_another_limit_of_pixels_is_no_other_version_of_anything() -> None:
    high = ImageSize(resize=32, imagesize=28, max_pixels=2**32)
    assert high != SIZE
    assert section_hash(high) == section_hash(SIZE)
    assert CategoryConfig(dataset=high).model_dump() == SETTINGS.model_dump()
    assert section_hash(ImageSize(resize=33, imagesize=28)) != section_hash(SIZE)


def test_pillow_s_own_limit_is_neither_needed_nor_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 790)
    assert len(scan(root).images) == 4
    assert load_image(root / "nut/train/good/a.png", SIZE).shape == (28, 28, 3)
    assert Image.MAX_IMAGE_PIXELS == 790
    assert not recwarn.list


@pytest.mark.parametrize("error", [KeyError("mine"), OSError(5, "mine"), MemoryError()])
def test_what_a_reader_of_images_does_wrong_is_not_the_file_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    file = tmp_path / "x.png"
    file.write_bytes(saved(noise("L")))
    with pytest.raises(type(error)) as caught, opened(file, SIDE * SIDE):
        fail()
    assert caught.value is error
    monkeypatch.setattr("patchcore_ops.dataset.images.resize_and_crop", fail)
    monkeypatch.setattr("patchcore_ops.dataset.masks.resize_and_crop", fail)
    for load in (load_image, load_mask):
        with pytest.raises(type(error)) as caught:
            load(file, SIZE)
        assert caught.value is error


def test_a_pipe_by_an_image_s_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "is not a regular file" in refusal(lambda: load_image(tmp_path / "pipe.png", SIZE))
