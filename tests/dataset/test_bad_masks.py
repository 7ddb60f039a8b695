"""The matrix of masks: one row an input, with the outcome of docs/input.md."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from category_kit import draw, remove, scan
from PIL import Image, ImageOps

from patchcore_ops.checks import dataset
from patchcore_ops.config.sections import CategoryConfig, ImageSize
from patchcore_ops.dataset import mask_doubts as remarks
from patchcore_ops.dataset import scan_category
from patchcore_ops.dataset.masks import load_mask, load_masks
from patchcore_ops.runtime.errors import DatasetError

SIDE = 40
SIZE = ImageSize(resize=32, imagesize=28)
SETTINGS = CategoryConfig(dataset=SIZE)
MASK = "ground_truth/cut/d_mask.png"


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def mask(white: int = 255, where: slice = slice(12, 22), side: int = SIDE) -> Image.Image:
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[where, where] = white
    return Image.fromarray(pixels)


def halves(first: int, second: int) -> Image.Image:
    pixels = np.asarray(mask()).copy()
    pixels[12:22, 12:22] = first
    pixels[12:22, 17:22] = second
    return Image.fromarray(pixels)


def soft() -> Image.Image:
    """Return a mask whose edge alone is grey, as a drawing programme leaves it."""
    return mask(where=slice(4, 32)).resize((80, 80), Image.Resampling.BILINEAR).resize((SIDE, SIDE))


def red() -> Image.Image:
    return Image.merge("RGB", (mask(), mask(white=0), mask(white=0)))


def layer(paint: str, ground: str, opacity: int = 255) -> Image.Image:
    """Return a defect painted on a ground that is transparent and has a colour all the same."""
    image = Image.composite(
        *(Image.new("RGB", (SIDE, SIDE), one) for one in (paint, ground)), mask()
    )
    image.putalpha(mask(white=opacity))
    return image


def erased() -> Image.Image:
    """Return black and grey, with white under what is transparent."""
    image = halves(255, 60).convert("RGB")
    alpha = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    alpha[12:22, 12:17] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def erased_from_white() -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    image.putalpha(ImageOps.invert(mask()))
    return image


def with_stroke(grey: int) -> Image.Image:
    """Return a white square and, elsewhere, a line two pixels wide."""
    pixels = np.asarray(mask(where=slice(6, 20))).copy()
    pixels[30:32, 8:20] = grey
    return Image.fromarray(pixels)


def cone() -> Image.Image:
    """Return a mark that fades from its middle on, as a soft brush paints."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return Image.fromarray(np.clip(255 - 18 * np.hypot(rows, columns), 0, 255).astype(np.uint8))


# Content of the mask, and the doubt of the check `masks_mark_defects`.
MASKS: dict[str, tuple[bytes, str | None]] = {
    "black and white": (saved(mask()), None),
    "1-bit": (saved(mask().convert("1")), None),
    "16-bit": (saved(Image.fromarray(np.asarray(mask()).astype(np.uint16) * 257)), None),
    "soft edge": (saved(soft()), None),
    "empty": (saved(mask(white=0)), remarks.EMPTY),
    "0 and 1": (saved(mask(white=1)), None),
    "0 and 1 of 16 bits": (
        saved(Image.fromarray(np.asarray(mask()).astype(np.uint16) // 255)),
        None,
    ),
    "red on black": (saved(red()), None),
    "white on transparent white": (saved(layer("white", "white")), None),
    "red on transparent white": (saved(layer("red", "white")), None),
    "half transparent red on nothing": (saved(layer("red", "white", opacity=120)), None),
    "black on transparent black": (saved(layer("black", "black")), None),
    "black on transparent white": (saved(layer("black", "white")), remarks.HIDDEN),
    "transparent white on black and grey": (saved(erased()), remarks.HIDDEN),
    "all white": (saved(Image.new("L", (SIDE, SIDE), 255)), remarks.WHOLE),
    "black on white": (saved(ImageOps.invert(mask())), remarks.MOSTLY),
    "erased from opaque white": (saved(erased_from_white()), remarks.MOSTLY),
    "JPEG": (saved(mask(where=slice(8, 32)), "JPEG"), None),
    "JPEG of 0 and 2": (saved(mask(white=2, where=slice(8, 32)), "JPEG"), remarks.FAINT),
    "TIFF of 0 and 2": (saved(mask(white=2), "TIFF"), None),
    "classes 1 and 2": (saved(halves(1, 2)), remarks.FAINT),
    "white and half grey": (saved(halves(128, 255)), remarks.SEVERAL_LEVELS),
    "white and half dark": (saved(halves(100, 255)), remarks.PARTLY_FAINT),
    "white and a faint stroke": (saved(with_stroke(90)), remarks.PARTLY_FAINT),
    "white and fainter noise": (saved(with_stroke(50)), None),
    "soft everywhere": (saved(cone()), remarks.GREY),
    "outside the crop": (saved(mask(where=slice(0, 2))), remarks.OUT_OF_VIEW),
    "too small to survive": (saved(mask(where=slice(20, 21))), remarks.OUT_OF_VIEW),
}


MARK_NOTHING = (remarks.EMPTY, remarks.FAINT, remarks.OUT_OF_VIEW)


@pytest.mark.parametrize(("content", "doubt"), MASKS.values(), ids=MASKS)
def test_a_mask_is_used_and_doubts_are_told(nut: Path, content: bytes, doubt: str | None) -> None:
    draw(nut / "test/cut/d.png", 3, side=SIDE)
    (nut / MASK).write_bytes(content)
    found = scan_category(nut.parent, nut.name, settings=SETTINGS)
    assert found.images["mask_path"].notna().sum() == 1
    told = [tuple(one) for one in found.mask_doubts]
    assert told == ([(f"nut/{MASK}", doubt)] if doubt else [])
    counts = load_mask(nut / MASK, SIZE) >= 127.5
    assert counts.any() == (doubt not in MARK_NOTHING)


def test_masks_that_break_later_are_named_together(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{at}.png", 255) for at in range(5)]
    paths[1].write_bytes(b"")
    paths[3].unlink()
    with pytest.raises(DatasetError) as caught:
        load_masks([*paths, None], SIZE, 2)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(paths[1]), str(paths[3])]
    assert lines[1].endswith("the file has vanished; materialise image_manifest again")


@pytest.mark.parametrize(
    "mask", ["d_mask.png", "d_mask.PNG", "d.png", "d_mask.bmp", "d_mask.TIF", "d.Jpg"]
)
def test_masks_are_found_in_any_format_and_spelling_of_the_extension(nut: Path, mask: str) -> None:
    remove("ground_truth/cut/d_mask.png")(nut)
    image = Image.new("L", (8, 8), 255)
    kind = {"bmp": "BMP", "tif": "TIFF", "jpg": "JPEG"}.get(mask[-3:].lower(), "PNG")
    image.save(nut / "ground_truth/cut" / mask, kind)
    found = scan(nut)
    assert found.images["mask_path"].dropna().tolist() == [f"nut/ground_truth/cut/{mask}"]
    assert found.unused_masks == ()


def test_of_several_masks_one_is_used_and_the_others_are_listed(nut: Path) -> None:
    for name in ("d.png", "d_mask.bmp", "d_mask.PNG", "more/d_mask.png", ".d_mask.png", "d.txt"):
        draw(nut / "ground_truth/cut" / "x.png", 255).rename(write_folder(nut, name))
    draw(nut / "ground_truth/good/c_mask.png", 255)
    draw(nut / "ground_truth/d_mask.png", 255)
    found = scan(nut)
    assert found.images["mask_path"].dropna().tolist() == ["nut/ground_truth/cut/d_mask.png"]
    assert found.unused_masks == tuple(
        f"nut/ground_truth/{name}"
        for name in (
            "cut/.d_mask.png",
            "cut/d.png",
            "cut/d.txt",
            "cut/d_mask.PNG",
            "cut/d_mask.bmp",
            "cut/more/d_mask.png",
            "d_mask.png",
            "good/c_mask.png",
        )
    )
    finding = dataset.every_file_is_used(found)
    assert finding.facts["masks_of_no_image"] == 8
    assert "8 files: the mask of no defective image, or a second one" in finding.sentence


def write_folder(nut: Path, name: str) -> Path:
    file = nut / "ground_truth/cut" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
