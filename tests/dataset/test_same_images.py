"""Equal images: the pairing against two nested loops, and what is said on real files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchcore_ops.checks import same_images
from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset import load_image, scan_category
from patchcore_ops.dataset.same_images import repeated, same_in

SIZE = ImageSize(resize=64, imagesize=56)
CATEGORY = "fabric_a"

contents = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=8)


def table(rows: list[tuple[str, str]], prefix: str) -> pd.DataFrame:
    return pd.DataFrame(
        [(f"{prefix}{at}", pixels, file) for at, (pixels, file) in enumerate(rows)],
        columns=["path", "pixels", "fingerprint"],
    )


def literal_pairs(
    images: pd.DataFrame, others: pd.DataFrame, must_differ: bool
) -> dict[str, set[str]]:
    """Give of each image all others that it could be paired with."""
    return {
        image.path: partners
        for image in images.itertuples()
        if (
            partners := {
                other.path
                for other in others.itertuples()
                if image.pixels == other.pixels
                and not (must_differ and image.fingerprint == other.fingerprint)
            }
        )
    }


@settings(deadline=None)
@given(first=contents, second=contents, must_differ=st.booleans())
def test_images_are_paired_by_content(
    first: list[tuple[str, str]], second: list[tuple[str, str]], must_differ: bool
) -> None:
    images, others = table(first, "i"), table(second, "o")
    got = same_in(images, others, "pixels", "fingerprint" if must_differ else None)
    expected = literal_pairs(images, others, must_differ)
    assert dict.fromkeys(got["path"]) == dict.fromkeys(expected)
    assert all(row.same_as in expected[row.path] for row in got.itertuples())
    if not must_differ:
        assert all(row.same_as == min(expected[row.path]) for row in got.itertuples())


@settings(deadline=None)
@given(rows=contents)
def test_repeated_images_name_the_first_of_their_kind(rows: list[tuple[str, str]]) -> None:
    images = table(rows, "i")
    expected = [
        (f"i{at}", f"i{[pixels for pixels, _ in rows].index(row[0])}")
        for at, row in enumerate(rows)
        if row[0] in [pixels for pixels, _ in rows[:at]]
    ]
    assert list(repeated(images, "pixels").itertuples(index=False, name=None)) == expected


@pytest.fixture
def folder(tiny_dataset: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_dataset / CATEGORY, tmp_path / CATEGORY)
    return tmp_path / CATEGORY


def described(folder: Path) -> pd.DataFrame:
    """Return the manifest with a hash of each image's crop."""
    images = scan_category(folder.parent, CATEGORY).images
    return images.assign(
        pixels=[
            hashlib.sha256(load_image(folder.parent / path, SIZE).tobytes()).hexdigest()
            for path in images["path"]
        ]
    )


def save_anew(folder: Path, old: str, new: str) -> None:
    with Image.open(folder / old) as image:
        image.save(folder / new)


def test_different_images_pass(folder: Path) -> None:
    finding = same_images.images_differ_as_decoded(described(folder))
    assert finding.passed
    assert finding.sentence == "No two files of the 18 images hold the same pixels."
    assert not any(finding.facts.values())


@pytest.mark.parametrize(
    ("old", "new", "fact", "said"),
    [
        (
            "train/good/001.png",
            "test/good/zz.bmp",
            "shared_images",
            "1 test image shows the pixels of a train image in another file "
            "(fabric_a/test/good/zz.bmp, the same as fabric_a/train/good/001.png): scores of "
            "images that were learnt mean nothing; remove them from train or from test.",
        ),
        (
            "test/good/001.png",
            "test/hole/zz.tif",
            "contradictions",
            "1 normal test image is in a defect folder too, with the same pixels "
            "(fabric_a/test/good/001.png, the same as fabric_a/test/hole/zz.tif): one of the two "
            "labels is wrong and counts as an error whatever the score, so that no AUROC of the "
            "images can reach 1; remove the one that is wrong.",
        ),
        (
            "test/hole/001.png",
            "test/stain/zz.webp",
            "copies",
            "1 test image repeats the pixels of another one (fabric_a/test/stain/zz.webp, the "
            "same as fabric_a/test/hole/001.png) and counts once more in every metric; remove the "
            "copies.",
        ),
        (
            "train/good/001.png",
            "train/good/zz.bmp",
            "train_copies",
            "1 train image repeats the pixels of another one (fabric_a/train/good/zz.bmp, the "
            "same as fabric_a/train/good/001.png): copies cost time and teach nothing; remove "
            "them.",
        ),
    ],
)
def test_an_image_that_was_saved_anew_is_told(
    folder: Path, old: str, new: str, fact: str, said: str
) -> None:
    with Image.open(folder / old) as image:
        options = {"lossless": True} if new.endswith(".webp") else {}
        image.save(folder / new, **options)
    images = described(folder)
    finding = same_images.images_differ_as_decoded(images)
    assert (finding.passed, finding.is_error) == (False, False)
    assert finding.sentence == said
    counts = {name: count for name, count in finding.facts.items() if isinstance(count, int)}
    assert counts == {
        "shared_images": 0,
        "contradictions": 0,
        "copies": 0,
        "train_copies": 0,
        fact: 1,
    }
    assert same_images.test_images_differ(images).passed, "the files differ"


def test_equal_files_are_left_to_the_manifest(folder: Path) -> None:
    shutil.copy(folder / "test/good/001.png", folder / "test/good/zz.png")
    shutil.copy(folder / "test/good/001.png", folder / "test/hole/zz.png")
    images = described(folder)
    assert same_images.images_differ_as_decoded(images).passed
    finding = same_images.test_images_differ(images)
    assert (finding.facts["copies"], finding.facts["contradictions"]) == (1, 2)


def test_every_kind_is_counted_and_the_first_is_named(folder: Path) -> None:
    for at in range(3):
        save_anew(folder, f"train/good/00{at}.png", f"test/good/z{at}.bmp")
    save_anew(folder, "test/stain/000.png", "test/good/z9.bmp")
    finding = same_images.images_differ_as_decoded(described(folder))
    assert (finding.facts["shared_images"], finding.facts["contradictions"]) == (3, 1)
    assert finding.sentence.startswith(
        "3 test images show the pixels of a train image in another file (such as "
        "fabric_a/test/good/z0.bmp, the same as fabric_a/train/good/000.png): "
    )
    assert " 1 normal test image is in a defect folder too" in finding.sentence
