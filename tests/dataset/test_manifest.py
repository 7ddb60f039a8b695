"""The manifest: what its columns say of each image and its mask."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from patchcore_ops.dataset.manifest import COLUMNS, scan_category
from patchcore_ops.runtime.fingerprints import file_hash

SIZE = (12, 8)


def draw(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", SIZE, grey).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a dataset with the category `nut`: two train, one good and three defective images."""
    nut = tmp_path / "nut"
    for number, name in enumerate(("train/good/b", "train/good/a", "test/good/x", "test/cut/10")):
        draw(nut / f"{name}.png", number)
    draw(nut / "test/cut/9.png", 10)
    draw(nut / "test/bent/0.png", 11)
    for name in ("cut/10_mask", "cut/9_mask", "bent/0"):
        draw(nut / "ground_truth" / f"{name}.png", 255)
    return tmp_path


def test_columns_describe_each_image_and_its_mask(root: Path) -> None:
    images = scan_category(root, "nut").images
    assert tuple(images.columns) == COLUMNS
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
