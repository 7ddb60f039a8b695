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


def test_different_images_pass(folder: Path) -> None:
    finding = same_images.images_differ_as_decoded(described(folder))
    assert finding.passed
    assert finding.sentence == "No two files of the 18 images hold the same pixels."
    assert not any(finding.facts.values())


@pytest.mark.parametrize(
    ("old", "new", "fact", "remedy"),
    [
        ("train/good/001.png", "test/good/zz.bmp", "shared_images", "remove them from train or"),
        ("test/good/001.png", "test/hole/zz.tif", "contradictions", "remove the one that is wrong"),
        ("test/hole/001.png", "test/stain/zz.webp", "copies", "remove the copies"),
        ("train/good/001.png", "train/good/zz.bmp", "train_copies", "remove them"),
    ],
)
def test_an_image_that_was_saved_anew_is_told(
    folder: Path, old: str, new: str, fact: str, remedy: str
) -> None:
    with Image.open(folder / old) as image:
        options = {"lossless": True} if new.endswith(".webp") else {}
        image.save(folder / new, **options)
    images = described(folder)
    finding = same_images.images_differ_as_decoded(images)
    assert (finding.passed, finding.is_error) == (False, False)
    assert f"fabric_a/{old}" in finding.sentence
    assert f"fabric_a/{new}" in finding.sentence
    assert remedy in finding.sentence
    counts = {name: count for name, count in finding.facts.items() if isinstance(count, int)}
    kinds = ("shared_images", "contradictions", "copies", "train_copies")
    assert counts == {**dict.fromkeys(kinds, 0), fact: 1}
    assert same_images.test_images_differ(images).passed, "the files differ"


def test_equal_files_are_left_to_the_manifest(folder: Path) -> None:
    shutil.copy(folder / "test/good/001.png", folder / "test/good/zz.png")
    shutil.copy(folder / "test/good/001.png", folder / "test/hole/zz.png")
    images = described(folder)
    assert same_images.images_differ_as_decoded(images).passed
    finding = same_images.test_images_differ(images)
    assert (finding.facts["copies"], finding.facts["contradictions"]) == (1, 2)
