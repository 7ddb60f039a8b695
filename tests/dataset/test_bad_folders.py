"""The matrix of folders: one row a state, with the outcome of docs/input.md."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from category_kit import IMAGES, add, draw, link, refusal, remove, scan, write

from patchcore_ops.checks import dataset
from patchcore_ops.config.sections import ChecksSection
from patchcore_ops.dataset.category_folder import (
    BROKEN,
    HIDDEN,
    LINKED_FOLDER,
    MISPLACED,
    NOT_AN_IMAGE,
    SPECIAL,
)

ENOUGH = ChecksSection(minimum_train_images=1, minimum_test_images=1)


# What is done to a sound category, and what is skipped for it, with the reason.
SKIPPED: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "text between images": (write("test/cut/notes.txt"), {"test/cut/notes.txt": NOT_AN_IMAGE}),
    "GIF between images": (write("test/cut/x.gif"), {"test/cut/x.gif": NOT_AN_IMAGE}),
    "hidden file": (write("train/good/.DS_Store"), {"train/good/.DS_Store": HIDDEN}),
    "hidden image": (add("train/good/._a.png"), {"train/good/._a.png": HIDDEN}),
    "hidden folder": (add("test/.cache/x.png"), {"test/.cache/x.png": HIDDEN}),
    "image in train": (add("train/x.png"), {"train/x.png": MISPLACED}),
    "image in test": (add("test/x.png"), {"test/x.png": MISPLACED}),
    "image in the category": (add("x.png"), {"x.png": MISPLACED}),
    "image in another split": (add("valid/good/x.png"), {"valid/good/x.png": MISPLACED}),
    "folder in a label": (add("test/cut/more/x.png"), {"test/cut/more/x.png": MISPLACED}),
    "linked folder": (link("train/good/all", "/"), {"train/good/all": LINKED_FOLDER}),
    "loop of folders": (link("test/cut/up", "../.."), {"test/cut/up": LINKED_FOLDER}),
    "broken link of no image": (link("test/cut/.#lock", "gone"), {"test/cut/.#lock": BROKEN}),
    "pipe": (lambda nut: os.mkfifo(nut / "test/cut/x.png"), {"test/cut/x.png": SPECIAL}),
    "name with a newline": (write("test/cut/a\nb.txt"), {"test/cut/a\\nb.txt": NOT_AN_IMAGE}),
}


@pytest.mark.parametrize(("act", "expected"), SKIPPED.values(), ids=SKIPPED)
def test_what_is_skipped_is_listed_with_a_reason_and_fails_a_check(
    nut: Path, act: Callable[[Path], object], expected: dict[str, str]
) -> None:
    act(nut)
    found = scan(nut)
    assert dict(found.skipped) == {f"nut/{name}": reason for name, reason in expected.items()}
    assert found.images["path"].tolist() == [f"nut/{name}.png" for name in IMAGES]
    finding = dataset.every_file_is_used(found)
    assert (finding.passed, finding.is_error) == (False, False)
    assert finding.facts["skipped"] == len(expected)
    assert next(iter(dict(found.skipped))) in finding.sentence
    assert next(iter(expected.values())) in finding.sentence
    assert "\n" not in finding.sentence


def test_a_licence_beside_the_dataset_is_counted_and_no_reason_to_warn(nut: Path) -> None:
    write("license.txt")(nut)
    write("docs/readme.md")(nut)
    found = scan(nut)
    assert found.beside == ("nut/docs/readme.md", "nut/license.txt")
    finding = dataset.every_file_is_used(found)
    assert finding.passed
    assert finding.facts["beside_the_dataset"] == 2


# What is done, and the beginnings of the lines that it gives, relative to the category.
REFUSED: dict[str, tuple[list[Callable[[Path], object]], list[str]]] = {
    "no train images": (
        [remove("train")],
        ["train/good: holds no images; PatchCore needs normal ones"],
    ),
    "no test images": ([remove("test")], ["test: holds no images in folders such as good"]),
    "test images in no folder": (
        [remove("test"), add("test/d.png")],
        ["test: holds no images in folders such as good"],
    ),
    "train is a file": (
        [remove("train"), write("train")],
        ["train: is no folder; the layout of MVTec AD has a folder of this name"],
    ),
    "defects in train": (
        [add("train/cut/x.png")],
        ["train/cut: train may hold only 'good'; PatchCore learns from normal images alone"],
    ),
    "good in capitals": (
        [add("test/Good/x.png")],
        ["test/Good: would count as a defect; rename it to 'good', in small letters"],
    ),
    "link to nothing": (
        [link("train/good/x.png", "../gone.png")],
        ["train/good/x.png: is a link that leads nowhere, or in a circle; restore what it shall"],
    ),
    "link to itself": (
        [link("test/cut/x.png", "x.png")],
        ["test/cut/x.png: is a link that leads nowhere, or in a circle; restore what it shall"],
    ),
    "mask's link to nothing": (
        [remove("ground_truth/cut/d_mask.png"), link("ground_truth/cut/d_mask.png", "gone")],
        ["ground_truth/cut/d_mask.png: is a link that leads nowhere, or in a circle"],
    ),
    "label's link to nothing": (
        [link("test/bent", "gone")],
        ["test/bent: is a link that leads no"],
    ),
    "label is a loop": (
        [link("test/bent", "..")],
        ["test/bent: is a link to a folder in which it lies; remove the link"],
    ),
    "split is a loop": (
        [remove("test"), link("test", ".")],
        ["test: is a link to a folder in which it lies; remove the link"],
    ),
    "name that is no UTF-8": (
        [lambda nut: (nut / "test/cut" / os.fsdecode(b"\xff.png")).touch()],
        ["test/cut/\\xff.png: its name is not valid UTF-8; rename the file"],
    ),
    "one mask for two": (
        [add("test/cut/d.bmp")],
        ["test/cut/d.png: has the same mask as d.bmp, d_mask.png; rename one of the images"],
    ),
    "broken mask": (
        [write("ground_truth/cut/d_mask.png")],
        ["ground_truth/cut/d_mask.png: is none of PNG, JPEG, BMP, TIFF and WebP by its content"],
    ),
    "everything at once": (
        [
            remove("train"),
            add("train/bad/x.png"),
            write("test/good/c.png", b""),
            write("test/cut/e.png", b"no image"),
            add("test/cut/f.png"),
            lambda nut: draw(nut / "ground_truth/cut/f_mask.png", 255, side=9),
            link("test/cut/g.png", "gone"),
        ],
        [
            "train/bad: train may hold only",
            "test/cut/g.png: is a link that leads nowhere",
            "test/cut/e.png: is none of",
            "test/good/c.png: is empty",
            "train/good: holds no images",
            "ground_truth/cut/f_mask.png: has 9 x 9 pixels instead of 8 x 8",
        ],
    ),
    "a leak beside a broken image": (
        [
            lambda nut: shutil.copy(nut / "train/good/a.png", nut / "test/good/leak.png"),
            write("test/good/c.png", b""),
        ],
        [
            "test/good/c.png: is empty",
            "test/good/leak.png: is the train image nut/train/good/a",
        ],
    ),
}


@pytest.mark.parametrize(("acts", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_refused_folder_names_every_problem_at_once(
    nut: Path, acts: list[Callable[[Path], object]], expected: list[str]
) -> None:
    for act in acts:
        act(nut)
    lines = refusal(nut)
    said = [line.removeprefix(f"{nut}/").removeprefix(f"{nut.name}/") for line in lines]
    assert len(said) == len(expected), lines
    for line, beginning in zip(said, expected, strict=True):
        assert line.startswith(beginning), lines


def test_very_many_problems_are_counted(nut: Path) -> None:
    for at in range(130):
        (nut / f"train/good/{at:03}.png").touch()
    lines = refusal(nut)
    assert len(lines) == 101
    assert lines[-1] == "... and 30 more problems"


@pytest.mark.parametrize("is_there", [False, True])
def test_an_absent_or_false_category_says_where_it_was_expected(
    tmp_path: Path, is_there: bool
) -> None:
    if is_there:
        (tmp_path / "nut").touch()
    (line,) = refusal(tmp_path / "nut")
    assert line.startswith(
        f"{tmp_path / 'nut'}: {'is no folder' if is_there else 'no such folder'}"
    )
    assert "dataset.root" in line
    assert "dataset.categories" in line
    assert "MVTec" not in line


def test_an_empty_category_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "nut").mkdir()
    assert [line.split(": ")[1][:15] for line in refusal(tmp_path / "nut")] == [
        "holds no images"
    ] * 2


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("test/good", "no normal test image, so image metrics are undefined"),
        ("test/cut", "no defective test image, so image metrics are undefined"),
    ],
)
def test_one_class_of_test_images_is_accepted_with_a_warning(
    nut: Path, gone: str, said: str
) -> None:
    remove(gone)(nut)
    finding = dataset.enough_images(scan(nut).images, ENOUGH)
    assert (finding.passed, finding.is_error) == (False, False)
    assert said in finding.sentence


def test_defects_without_ground_truth_are_accepted(nut: Path) -> None:
    add("test/bent/x.png")(nut)
    found = scan(nut)
    assert found.images.set_index("path")["mask_path"].isna()["nut/test/bent/x.png"]
    assert not dataset.defects_have_masks(found).passed
    remove("ground_truth")(nut)
    assert dataset.defects_have_masks(scan(nut)).passed
