"""The manifest: layout, order, masks, and every way in which a folder can be unusable."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from patchcore_ops.dataset.manifest import COLUMNS, scan_category
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
