"""The checks of the images, each on a small dataset that is really broken in that way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from patchcore_ops.checks import dataset, same_images
from patchcore_ops.checks.finding import Finding
from patchcore_ops.config.sections import ChecksSection, ImageSize
from patchcore_ops.dataset.manifest import CategoryScan, scan_category

CATEGORY = "fabric_a"
SIZE = ImageSize(resize=64, imagesize=64)
FEW = ChecksSection(minimum_train_images=8, minimum_test_images=10)
CHECKS: dict[str, Callable[[CategoryScan], Finding]] = {
    "train_and_test_differ": lambda scan: same_images.train_and_test_differ(scan.images),
    "train_images_differ": lambda scan: same_images.train_images_differ(scan.images),
    "test_images_differ": lambda scan: same_images.test_images_differ(scan.images),
    "masks_match_images": dataset.masks_match_images,
    "defects_have_masks": dataset.defects_have_masks,
    "enough_images": lambda scan: dataset.enough_images(scan.images, FEW),
    "image_sizes_agree": lambda scan: dataset.image_sizes_agree(scan.images),
    "images_are_large_enough": lambda scan: dataset.images_are_large_enough(scan.images, SIZE),
    "images_are_read_as_shown": dataset.images_are_read_as_shown,
    "masks_mark_defects": dataset.masks_mark_defects,
    "every_file_is_used": dataset.every_file_is_used,
}
TRAIN, GOOD, HOLE, MASK = (
    f"{name}/000.png" for name in ("train/good", "test/good", "test/hole", "ground_truth/hole")
)
MASK = MASK.replace(".png", "_mask.png")
Breaks = Callable[[Path], object]


@pytest.fixture
def folder(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Copy a category that a test may damage."""
    shutil.copytree(tiny_dataset / CATEGORY, tmp_path / CATEGORY)
    for file in (tmp_path / CATEGORY).glob("*.json"):
        file.unlink()
    return tmp_path / CATEGORY


def copy(source: str, target: str, with_mask: bool = False) -> Breaks:
    def act(folder: Path) -> None:
        shutil.copy(folder / source, folder / target)
        if with_mask:
            shutil.copy(folder / MASK, folder / "ground_truth/hole/zz_copy_mask.png")

    return act


def remove(name: str) -> Breaks:
    return lambda folder: (
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    )


def resize(pattern: str, width: int, height: int) -> Breaks:
    def act(folder: Path) -> None:
        for file in folder.glob(pattern):
            Image.open(file).resize((width, height)).save(file)

    return act


def invert_the_masks(folder: Path) -> None:
    for mask in folder.glob("ground_truth/*/*.png"):
        ImageOps.invert(Image.open(mask).convert("L")).save(mask)


def shrink_every_image(folder: Path) -> None:
    resize("t*/*/*.png", 60, 60)(folder)
    shutil.rmtree(folder / "ground_truth")


def turn_two_images(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    for name in (GOOD, GOOD.replace("000", "001")):
        Image.open(folder / name).save(folder / name, exif=exif)


BROKEN: dict[str, tuple[Breaks, dict[str, bool], str]] = {
    "leak": (
        copy(TRAIN, "test/good/leaked.png"),
        {"train_and_test_differ": True},
        "1 test image is among the train images too (fab",
    ),
    "repeated train image": (
        copy(TRAIN, "train/good/zz_copy.png"),
        {"train_images_differ": False},
        "1 train image repeats another one",
    ),
    "repeated test image": (
        copy(HOLE, "test/hole/zz_copy.png", with_mask=True),
        {"test_images_differ": False},
        "1 test image repeats another one (fabric_a/test/hole/zz_copy.png, the same as fabric_a/te",
    ),
    "normal image called defective": (
        copy(GOOD, "test/hole/zz_copy.png", with_mask=True),
        {"test_images_differ": False},
        "1 normal test image is in a defect folder too, in the same file (fabric_a/test/good/000",
    ),
    "inverted masks": (
        invert_the_masks,
        {"masks_mark_defects": False},
        "Half of the masks mark 96% of their image or more: if they are inverted, every pixel",
    ),
    "small mask": (
        resize(MASK, 32, 32),
        {"masks_match_images": True, "defects_have_masks": False},
        "(32 x 32 pixels instead of 64 x 64)",
    ),
    "lost mask": (remove(MASK), {"defects_have_masks": False}, "1 defective image has no mask"),
    "lost masks of a defect": (
        remove("ground_truth/hole"),
        {"defects_have_masks": False},
        "3 defective images have no mask",
    ),
    "lost train image": (
        remove(TRAIN),
        {"enough_images": False},
        "7 train images (checks.minimum_train",
    ),
    "lost normal test images": (
        remove("test/good"),
        {"enough_images": False},
        "6 test images (checks.minimum_test_images is 10); no normal test image",
    ),
    "wide image": (
        resize("train/good/003.png", 80, 64),
        {"image_sizes_agree": False},
        "1 image has another size",
    ),
    "small images": (
        shrink_every_image,
        {"images_are_large_enough": False},
        "18 images are smaller than the",
    ),
    "turned images": (
        turn_two_images,
        {"images_are_read_as_shown": False},
        "fabric_a/test/good/000.png is turned by an EXIF entry that is not followed, like 1 more",
    ),
    "empty mask": (
        lambda folder: Image.new("L", (64, 64)).save(folder / MASK),
        {"masks_mark_defects": False},
        "1 mask is perhaps not used as meant: fabric_a/ground_truth/hole/",
    ),
    "notes": (
        lambda folder: (folder / "train/good/notes.txt").write_text("not an image"),
        {"every_file_is_used": False},
        "fabric_a/train/good/notes.txt",
    ),
    "misnamed mask": (
        lambda folder: (folder / MASK).rename((folder / MASK).with_name("misnamed.png")),
        {"every_file_is_used": False, "defects_have_masks": False},
        "fabric_a/ground_truth/hole/misnamed.png",
    ),
}


@pytest.mark.parametrize(("breaks", "failing", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_dataset_fails_its_check_and_no_other(
    folder: Path, breaks: Breaks, failing: dict[str, bool], said: str
) -> None:
    breaks(folder)
    scan = scan_category(folder.parent, CATEGORY)
    findings = {name: check(scan) for name, check in CHECKS.items()}
    failed = {name: one.is_error for name, one in findings.items() if not one.passed}
    assert failed == failing
    assert said in findings[next(iter(failing))].sentence


def test_a_sound_dataset_passes_every_check(folder: Path) -> None:
    scan = scan_category(folder.parent, CATEGORY)
    for name, check in CHECKS.items():
        finding = check(scan)
        assert finding.passed, (name, finding.sentence)
        assert finding.sentence.endswith(".")
    assert not dataset.enough_images(scan.images, ChecksSection()).passed, "small by default"


def test_a_category_without_ground_truth_is_no_reason_to_warn(folder: Path) -> None:
    shutil.rmtree(folder / "ground_truth")
    scan = scan_category(folder.parent, CATEGORY)
    assert CHECKS["defects_have_masks"](scan).passed
    assert "no ground truth" in CHECKS["defects_have_masks"](scan).sentence
    assert CHECKS["masks_match_images"](scan).sentence == "There are no masks."


def test_leaks_are_found_by_content_and_all_are_named(folder: Path) -> None:
    names = [f"leaked_{at}.png" for at in range(3)]
    for at, name in enumerate(names):
        shutil.copy(folder / f"train/good/00{at}.png", folder / "test/hole" / name)
    # The same pixels in another file format are another content.
    pixels = np.asarray(Image.open(folder / TRAIN))
    Image.fromarray(pixels).save(folder / "test/good/same_pixels.bmp")
    finding = CHECKS["train_and_test_differ"](scan_category(folder.parent, CATEGORY))
    assert finding.facts["shared_images"] == 3
    pairs = finding.facts["pairs"]
    assert sorted(Path(name).name for name in pairs["path_in_test"]) == names  # type: ignore[call-overload, index]
