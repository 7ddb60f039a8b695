"""The checks of the images, each on a small dataset that is really broken in that way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from demo.tiny import build_tiny_dataset
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


@pytest.fixture
def folder(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Copy a category that a test may damage."""
    shutil.copytree(tiny_dataset / CATEGORY, tmp_path / CATEGORY)
    for file in (tmp_path / CATEGORY).glob("*.json"):
        file.unlink()
    return tmp_path / CATEGORY


def first(folder: Path) -> Path:
    return sorted(folder.glob("*.png"))[0]


def leak(folder: Path) -> None:
    shutil.copy(first(folder / "train/good"), folder / "test/good/leaked.png")


def repeat(folder: Path) -> None:
    shutil.copy(first(folder / "train/good"), folder / "train/good/zz_copy.png")


def repeat_in_test(folder: Path) -> None:
    shutil.copy(first(folder / "test/hole"), folder / "test/hole/zz_copy.png")
    mask = first(folder / "ground_truth/hole")
    shutil.copy(mask, folder / "ground_truth/hole/zz_copy_mask.png")


def call_a_normal_image_defective(folder: Path) -> None:
    shutil.copy(first(folder / "test/good"), folder / "test/hole/zz_copy.png")
    mask = first(folder / "ground_truth/hole")
    shutil.copy(mask, folder / "ground_truth/hole/zz_copy_mask.png")


def invert_the_masks(folder: Path) -> None:
    for mask in folder.glob("ground_truth/*/*.png"):
        ImageOps.invert(Image.open(mask).convert("L")).save(mask)


def shrink_a_mask(folder: Path) -> None:
    mask = first(folder / "ground_truth/hole")
    Image.open(mask).resize((32, 32)).save(mask)


def lose_a_mask(folder: Path) -> None:
    first(folder / "ground_truth/hole").unlink()


def lose_the_masks_of_a_defect(folder: Path) -> None:
    shutil.rmtree(folder / "ground_truth/hole")


def lose_train_images(folder: Path) -> None:
    first(folder / "train/good").unlink()


def lose_normal_test_images(folder: Path) -> None:
    shutil.rmtree(folder / "test/good")


def enlarge_an_image(folder: Path) -> None:
    file = sorted((folder / "train/good").glob("*.png"))[3]
    Image.open(file).resize((80, 64)).save(file)


def shrink_every_image(folder: Path) -> None:
    for file in (*folder.glob("train/*/*.png"), *folder.glob("test/*/*.png")):
        Image.open(file).resize((60, 60)).save(file)
    shutil.rmtree(folder / "ground_truth")


def turn_two_images(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    for file in sorted((folder / "test/good").glob("*.png"))[:2]:
        Image.open(file).save(file, exif=exif)


def empty_a_mask(folder: Path) -> None:
    Image.new("L", (64, 64)).save(first(folder / "ground_truth/hole"))


def leave_notes(folder: Path) -> None:
    (folder / "train/good/notes.txt").write_text("not an image")


def misname_a_mask(folder: Path) -> None:
    mask = first(folder / "ground_truth/hole")
    mask.rename(mask.with_name("misnamed.png"))


@pytest.mark.parametrize(
    ("breaks", "failing", "said"),
    [
        (leak, {"train_and_test_differ": True}, "1 test image is among the train images too (fab"),
        (repeat, {"train_images_differ": False}, "1 train image repeats another one"),
        (
            repeat_in_test,
            {"test_images_differ": False},
            "1 test image repeats another one (fabric_a/test/hole/zz_copy.png, the same as "
            "fabric_a/test/hole/000.png) and counts once more in every metric",
        ),
        (
            call_a_normal_image_defective,
            {"test_images_differ": False},
            "1 normal test image is in a defect folder too, in the same file "
            "(fabric_a/test/good/000.png, the same as fabric_a/test/hole/zz_copy.png): one of the "
            "two labels is wrong and counts as an error whatever the score, so that no AUROC of "
            "the images can reach 1",
        ),
        (
            invert_the_masks,
            {"masks_mark_defects": False},
            "Half of the masks mark 96% of their image or more: if they are inverted, every pixel",
        ),
        (
            shrink_a_mask,
            {"masks_match_images": True, "defects_have_masks": False},
            "(32 x 32 pixels instead of 64 x 64)",
        ),
        (lose_a_mask, {"defects_have_masks": False}, "1 defective image has no mask"),
        (
            lose_the_masks_of_a_defect,
            {"defects_have_masks": False},
            "3 defective images have no mask",
        ),
        (lose_train_images, {"enough_images": False}, "7 train images (checks.minimum_train"),
        (
            lose_normal_test_images,
            {"enough_images": False},
            "6 test images (checks.minimum_test_images is 10); no normal test image",
        ),
        (enlarge_an_image, {"image_sizes_agree": False}, "1 image has another size"),
        (shrink_every_image, {"images_are_large_enough": False}, "18 images are smaller than the"),
        (
            turn_two_images,
            {"images_are_read_as_shown": False},
            "2 images are perhaps not used as meant: fabric_a/test/good/000.png is "
            "turned by an EXIF entry that is not followed, like 1 more; if that",
        ),
        (
            empty_a_mask,
            {"masks_mark_defects": False},
            "1 mask is perhaps not used as meant: fabric_a/ground_truth/hole/",
        ),
        (leave_notes, {"every_file_is_used": False}, "fabric_a/train/good/notes.txt"),
        (
            misname_a_mask,
            {"every_file_is_used": False, "defects_have_masks": False},
            "fabric_a/ground_truth/hole/misnamed.png",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_dataset_fails_its_check_and_no_other(
    folder: Path, breaks: Callable[[Path], None], failing: dict[str, bool], said: str
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


def test_the_tiny_dataset_is_small_by_default(folder: Path) -> None:
    images = scan_category(folder.parent, CATEGORY).images
    assert not dataset.enough_images(images, ChecksSection()).passed


def test_a_category_without_ground_truth_is_no_reason_to_warn(folder: Path) -> None:
    shutil.rmtree(folder / "ground_truth")
    scan = scan_category(folder.parent, CATEGORY)
    assert CHECKS["defects_have_masks"](scan).passed
    assert "no ground truth" in CHECKS["defects_have_masks"](scan).sentence
    assert CHECKS["masks_match_images"](scan).sentence == "There are no masks."


def test_a_mask_of_another_size_is_not_used(folder: Path) -> None:
    shrink_a_mask(folder)
    images = scan_category(folder.parent, CATEGORY).images
    assert images["mask_path"].notna().sum() == 5
    assert images["mask_fingerprint"].notna().sum() == 5


def test_leaks_are_found_by_content_and_all_are_named(folder: Path) -> None:
    for at, file in enumerate(sorted((folder / "train/good").glob("*.png"))[:3]):
        shutil.copy(file, folder / f"test/hole/leaked_{at}.png")
    finding = CHECKS["train_and_test_differ"](scan_category(folder.parent, CATEGORY))
    assert finding.facts["shared_images"] == 3
    pairs = finding.facts["pairs"]
    assert {Path(name).name for name in pairs["path_in_test"]} == {  # type: ignore[call-overload, index]
        "leaked_0.png",
        "leaked_1.png",
        "leaked_2.png",
    }


def test_the_same_picture_in_another_file_format_is_another_content(folder: Path) -> None:
    pixels = np.asarray(Image.open(first(folder / "train/good")))
    Image.fromarray(pixels).save(folder / "test/good/same_pixels.bmp")
    assert CHECKS["train_and_test_differ"](scan_category(folder.parent, CATEGORY)).passed


def test_the_generator_writes_what_passes(tmp_path: Path) -> None:
    build_tiny_dataset(tmp_path, categories=("one",))
    scan = scan_category(tmp_path, "one")
    assert all(check(scan).passed for check in CHECKS.values())
