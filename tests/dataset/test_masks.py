"""How mask files are read, against a literal reading pixel by pixel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.image_formats import opened
from patchcore_ops.dataset.masks import load_mask, mask_content

SIDE = 16
SIZE = ImageSize(resize=SIDE, imagesize=SIDE)
Colour = tuple[int, int, int, int]

# Few colours, so that those with a meaning of their own are common.
colours = st.sampled_from([(0, 0, 0), (255, 255, 255), (255, 0, 0), (128, 128, 128), (1, 1, 1)])
opacities = st.sampled_from([0, 255, 100])


def plain() -> Image.Image:
    pixels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    pixels[3:9, 4:11] = 255
    pixels[12, 2:6] = 255
    return Image.fromarray(pixels)


def of_level(level: int) -> Image.Image:
    return plain().point([0] * 255 + [level])


def of_sixteen_bits(level: int) -> Image.Image:
    return Image.fromarray((np.asarray(plain()) > 0).astype(np.uint16) * np.uint16(level))


def of_palette(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray((np.asarray(plain()) > 0).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *colour])
    return image


def layer(paint: str, ground: str, opacity: int = 255) -> Image.Image:
    size = (SIDE, SIDE)
    image = Image.composite(Image.new("RGB", size, paint), Image.new("RGB", size, ground), plain())
    image.putalpha(of_level(opacity))
    return image


CERTAIN = {
    **{f"level {level}": of_level(level) for level in (1, 2, 127, 128, 250, 254, 255)},
    **{f"16 bits, {level}": of_sixteen_bits(level) for level in (1, 255, 300, 65535)},
    "1 bit": plain().convert("1"),
    "palette, red": of_palette((255, 0, 0)),
    "palette, dark": of_palette((0, 0, 128)),
    **{f"palette, {colour}": of_palette(colour) for colour in ((0, 0, 1), (0, 0, 4), (1, 0, 0))},
    "number of a class in blue": Image.merge("RGB", (of_level(0), of_level(0), of_level(3))),
    "colour": Image.merge("RGB", (of_level(0), of_level(0), of_level(255))),
    "white on hidden white": layer("white", "white"),
    "white on hidden black": layer("white", "black"),
    "red on hidden white": layer("red", "white"),
    "white, half opaque": layer("white", "white", 128),
    "grey with opacity": layer("white", "white").convert("LA"),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("image", CERTAIN.values(), ids=CERTAIN)
def test_what_has_one_meaning_is_read_as_black_and_white(
    tmp_path: Path, image: Image.Image, kind: str
) -> None:
    file = tmp_path / "mask.png"
    image.save(file, kind)
    np.testing.assert_array_equal(load_mask(file, SIZE), np.asarray(plain()))
    with opened(file, SIDE * SIDE) as read:
        assert not mask_content(read, file).uses_hidden_colours


def test_a_transparent_colour_of_a_grey_file_is_its_ground(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    plain().point([200] * 255 + [90]).save(file, transparency=200)
    np.testing.assert_array_equal(load_mask(file, SIZE), np.asarray(plain()))


@pytest.mark.parametrize("levels", [(1, 2), (128, 255), (7, 8)])
def test_several_levels_stay_as_they_are(tmp_path: Path, levels: tuple[int, int]) -> None:
    pixels = np.asarray(plain()).copy()
    pixels[pixels > 0], pixels[12] = levels[0], pixels[12] // 255 * levels[1]
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.png", SIZE), pixels)


def test_a_lossy_format_has_levels_of_its_own(tmp_path: Path) -> None:
    dark = Image.fromarray(np.kron([[0, 2], [0, 0]], np.ones((8, 8))).astype(np.uint8))
    for name, options in (("a.jpg", {}), ("a.tif", {"compression": "jpeg"})):
        dark.save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as image:
            stored = np.asarray(image.convert("L"))
        assert set(np.unique(stored)) == {0, 2}
        np.testing.assert_array_equal(load_mask(tmp_path / name, SIZE), stored)


def literal_levels(pixels: list[Colour]) -> tuple[list[int], bool]:
    """Read a PNG mask with opacity as docs/input.md says; also whether hidden colours count."""
    visible = {colour[:3] for colour in pixels if colour[3] > 0}
    everywhere = {colour[:3] for colour in pixels}
    levels = [round(0.299 * red + 0.587 * green + 0.114 * blue) for red, green, blue, _ in pixels]
    hidden = any(level > 0 for level, colour in zip(levels, pixels, strict=True) if colour[3] == 0)
    is_opacity = len({colour[3] for colour in pixels}) > 1 and len(visible) == 1
    if is_opacity and ((0, 0, 0) not in visible or everywhere == visible):
        levels, hidden = [colour[3] for colour in pixels], False
    others = set(levels) - {0}
    if 0 in levels and len(others) == 1:
        levels = [255 if level else 0 for level in levels]
    return levels, hidden


@settings(deadline=None, max_examples=300)
@given(
    drawn=st.lists(st.tuples(colours, opacities), min_size=1, max_size=4).flatmap(
        lambda choices: st.lists(st.sampled_from(choices), min_size=12, max_size=12)
    )
)
def test_opacity_is_read_by_its_definition(drawn: list[tuple[tuple[int, int, int], int]]) -> None:
    pixels: list[Colour] = [(*colour, opacity) for colour, opacity in drawn]
    buffer = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8).reshape(3, 4, 4)).save(buffer, "PNG")
    image = Image.open(buffer)
    assert isinstance(image, ImageFile.ImageFile)
    content = mask_content(image, Path("mask.png"))
    levels, hidden = literal_levels(pixels)
    assert np.asarray(content.levels).ravel().tolist() == levels
    assert content.uses_hidden_colours == hidden
    assert content.histogram == [levels.count(level) for level in range(256)]
