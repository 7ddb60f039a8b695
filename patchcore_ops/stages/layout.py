"""The names of the files inside an artefact's folder, and readers of its tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from patchcore_ops.dataset.manifest import refuse_paths_outside
from patchcore_ops.runtime.errors import StaleArtefact
from patchcore_ops.runtime.rows import Rows, open_rows

MANIFEST = "manifest.parquet"
IMAGES = "images.parquet"
TRAIN_EMBEDDINGS = "embeddings.npy"
TEST_EMBEDDINGS = "test_embeddings.npy"
GRID = "grid.json"
FEATURES = "features.npy"
INDICES = "indices.npy"
INDEX = "index.faiss"
PATCH_SCORES = "patch_scores.npy"
SEARCHED = "searched.json"
SCORES = "scores.parquet"
ANOMALY_MAPS = "anomaly_maps.npy"
RANGES = "ranges.json"
CALIBRATION = "calibration.json"
NORMAL_SCORES = "normal_scores.parquet"
SEGMENTATION_IMAGES = "segmentation_images"
PICTURES = "pictures"
CATEGORY_METRICS = "metrics.json"
COMPARED_SCORES = "compared_scores.parquet"
METRICS_CSV = "metrics.csv"
METRICS_PARQUET = "metrics.parquet"
NOTES = "notes.txt"
HISTORY = "history.parquet"
WAVE_PARQUET = "wave.parquet"
REPORT = "index.html"


def member_folder(folder: Path, member: int) -> Path:
    """Return the sub-folder of an ensemble member: its number in config order."""
    return folder / str(member)


def member_folders(folder: Path, members: int) -> list[Path]:
    """Return the sub-folders of all members; refuse an artefact with another number of members."""
    folders = [member_folder(folder, member) for member in range(members)]
    if not all(path.is_dir() for path in folders) or member_folder(folder, members).is_dir():
        raise StaleArtefact(
            f"the configuration has {members} embedding members, but an artefact further up was "
            "made with another number; materialise raw_embeddings and what follows it again"
        )
    return folders


def train_embeddings(member: Path) -> Rows:
    """Open the embeddings of the train images in a member's folder."""
    return open_rows(member / TRAIN_EMBEDDINGS)


def test_embeddings(member: Path) -> Rows:
    """Open the embeddings of the test images in a member's folder."""
    return open_rows(member / TEST_EMBEDDINGS)


def read_manifest(folder: Path) -> pd.DataFrame:
    """Read the manifest of a category; refuse paths that lead out of the dataset's root."""
    return _read_rows(folder / MANIFEST)


def read_images(folder: Path, asset: str = "raw_embeddings") -> pd.DataFrame:
    """Read the rows that an artefact keeps of its images: the manifest's, with `pixels`, a hash.

    Raises StaleArtefact for an artefact of an early release, which kept no rows.
    """
    if not (folder / IMAGES).is_file():
        raise StaleArtefact(
            f"{asset} was made by an earlier release, which did not keep which images it is of; "
            f"materialise {asset} and what follows it again"
        )
    return _read_rows(folder / IMAGES)


def _read_rows(file: Path) -> pd.DataFrame:
    rows = pd.read_parquet(file)
    refuse_paths_outside(rows)
    return rows


def read_scores(folder: Path) -> pd.DataFrame:
    """Read `scores.parquet` with each image's `fingerprint`, `mask_path` and `mask_fingerprint`."""
    identity = ["path", "fingerprint", "mask_path", "mask_fingerprint"]
    images = read_images(folder, "test_predictions")[identity]
    scores = pd.read_parquet(folder / SCORES)
    return scores.merge(images, on="path", how="left", validate="one_to_one")


def test_rows(images: pd.DataFrame) -> pd.DataFrame:
    """Return the test images, in the order of every prediction."""
    return images[images["split"] == "test"].reset_index(drop=True)


def mask_files(images: pd.DataFrame, dataset_root: Path) -> list[Path | None]:
    """Return the mask file of each row, or None."""
    return [dataset_root / path if isinstance(path, str) else None for path in images["mask_path"]]


def recorded_masks(images: pd.DataFrame, dataset_root: Path) -> dict[Path, str]:
    """Return the recorded SHA-256 of each mask file."""
    masks = images[images["mask_path"].notna()]
    return {
        dataset_root / path: str(digest)
        for path, digest in zip(masks["mask_path"], masks["mask_fingerprint"], strict=True)
    }


def recorded_images(images: pd.DataFrame, dataset_root: Path) -> dict[Path, str]:
    """Return the recorded SHA-256 of each image file."""
    return {
        dataset_root / path: str(digest)
        for path, digest in zip(images["path"], images["fingerprint"], strict=True)
    }
