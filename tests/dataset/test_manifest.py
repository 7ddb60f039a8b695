"""The manifest: layout, order, masks, and every way in which a folder can be unusable."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from patchcore_ops.dataset.category_folder import HIDDEN, NOT_AN_IMAGE
from patchcore_ops.dataset.manifest import COLUMNS, scan_category
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.runtime.fingerprints import file_hash

SIZE = (12, 8)


def draw(path: Path, size: tuple[int, int] = SIZE, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a dataset with the category `nut`: two train, one good and three defective images."""
    nut = tmp_path / "nut"
    for number, name in enumerate(("train/good/b", "train/good/a", "test/good/x", "test/cut/10")):
        draw(nut / f"{name}.png", grey=number)
    draw(nut / "test/cut/9.png", grey=10)
    draw(nut / "test/bent/0.png", grey=11)
    for name in ("cut/10_mask", "cut/9_mask", "bent/0"):
        draw(nut / "ground_truth" / f"{name}.png", grey=255)
    return tmp_path


def test_order_is_train_first_then_labels_and_names_sorted(root: Path) -> None:
    scan = scan_category(root, "nut")
    assert tuple(scan.images.columns) == COLUMNS
    assert scan.images["path"].tolist() == [
        "nut/train/good/a.png",
        "nut/train/good/b.png",
        "nut/test/bent/0.png",
        "nut/test/cut/10.png",
        "nut/test/cut/9.png",
        "nut/test/good/x.png",
    ]
    assert scan.skipped == ()


def test_columns_describe_each_image_and_its_mask(root: Path) -> None:
    images = scan_category(root, "nut").images
    assert images["split"].tolist() == ["train"] * 2 + ["test"] * 4
    assert images["label"].tolist() == ["good", "good", "bent", "cut", "cut", "good"]
    assert images["is_anomaly"].tolist() == [False, False, True, True, True, False]
    for row in images.itertuples():
        file = root / row.path
        assert (row.width, row.height) == SIZE
        assert row.bytes == file.stat().st_size
        assert row.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()
        if row.is_anomaly:
            assert row.defect_type == row.label
            assert row.mask_fingerprint == file_hash(root / row.mask_path)
    masks = images.set_index("path")["mask_path"].dropna()
    assert masks.to_dict() == {
        "nut/test/bent/0.png": "nut/ground_truth/bent/0.png",
        "nut/test/cut/10.png": "nut/ground_truth/cut/10_mask.png",
        "nut/test/cut/9.png": "nut/ground_truth/cut/9_mask.png",
    }
    good = images[~images["is_anomaly"]]
    assert good[["defect_type", "mask_path", "mask_fingerprint"]].isna().all(axis=None)


def test_defect_without_a_mask_folder_has_no_masks(root: Path) -> None:
    draw(root / "nut/test/scratch/0.png")
    images = scan_category(root, "nut").images.set_index("path")
    assert images.loc["nut/test/scratch/0.png", "is_anomaly"]
    assert images.loc[["nut/test/scratch/0.png"], "mask_path"].isna().all()


def test_tiny_dataset_is_accepted(tiny_dataset: Path) -> None:
    scan = scan_category(tiny_dataset, "fabric_a")
    counts = scan.images.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", "good"): 8,
        ("test", "good"): 4,
        ("test", "hole"): 3,
        ("test", "stain"): 3,
    }
    assert scan.images["mask_path"].notna().sum() == 6


def test_other_files_are_skipped_and_listed(root: Path) -> None:
    for name in ("train/good/Thumbs.db", "test/cut/notes.txt", "test/cut/.9.png"):
        (root / "nut" / name).write_text("no image")
    draw(root / "nut/.cache/train/good/z.png")
    scan = scan_category(root, "nut")
    assert len(scan.images) == 6
    assert dict(scan.skipped) == {
        "nut/.cache/train/good/z.png": HIDDEN,
        "nut/test/cut/.9.png": HIDDEN,
        "nut/test/cut/notes.txt": NOT_AN_IMAGE,
        "nut/train/good/Thumbs.db": NOT_AN_IMAGE,
    }


def test_all_problems_are_reported_together(root: Path) -> None:
    nut = root / "nut"
    (nut / "train/good/a.png").write_bytes(b"not a picture")
    (nut / "ground_truth/cut/10_mask.png").write_bytes(b"")
    draw(nut / "train/cut/0.png")
    with pytest.raises(DatasetError) as caught:
        scan_category(root, "nut")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for path, fragment in (
        ("train/cut", "train may hold only 'good'"),
        ("train/good/a.png", "is none of PNG, JPEG, BMP, TIFF and WebP"),
        ("ground_truth/cut/10_mask.png", "is empty (0 bytes)"),
    ):
        assert any(line.startswith(f"{nut / path}: ") and fragment in line for line in lines)


def test_masks_that_cannot_be_used_are_left_out_and_named(root: Path) -> None:
    nut = root / "nut"
    (nut / "ground_truth/cut/9_mask.png").rename(nut / "ground_truth/cut/misnamed.png")
    draw(nut / "ground_truth/cut/10_mask.png", size=(8, 12))
    scan = scan_category(root, "nut")
    assert scan.misfits == (("nut/ground_truth/cut/10_mask.png", "8 x 12", "12 x 8"),)
    assert scan.unused_masks == ("nut/ground_truth/cut/misnamed.png",)
    assert scan.has_ground_truth
    images = scan.images.set_index("path")
    for name in ("nut/test/cut/9.png", "nut/test/cut/10.png"):
        assert images.loc[[name], ["mask_path", "mask_fingerprint"]].isna().all(axis=None)


def test_truncated_image_is_reported(root: Path) -> None:
    file = root / "nut/train/good/a.png"
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(DatasetError, match=r"good/a\.png: cannot be decoded as an image"):
        scan_category(root, "nut")


@pytest.mark.parametrize(
    ("emptied", "message"),
    [("train/good", "PatchCore needs normal ones"), ("test", "nothing can be predicted")],
)
def test_empty_split_is_reported(root: Path, emptied: str, message: str) -> None:
    for file in (root / "nut" / emptied).rglob("*.png"):
        file.unlink()
    with pytest.raises(DatasetError, match=message):
        scan_category(root, "nut")


def test_vanished_category_says_where_it_was_expected(root: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        scan_category(root, "bolt")
    message = str(caught.value)
    assert message.startswith(f"{root / 'bolt'}: no such folder")
    assert "bolt/train/good" in message
    assert "PATCHCORE_DATASET_ROOT" in message
    assert "\n" not in message
