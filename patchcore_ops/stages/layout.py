"""The names of the files inside an artefact's folder."""

from __future__ import annotations

from pathlib import Path

MANIFEST = "manifest.parquet"
TRAIN_EMBEDDINGS = "embeddings.npy"
TEST_EMBEDDINGS = "test_embeddings.npy"
GRID = "grid.json"
FEATURES = "features.npy"
INDICES = "indices.npy"
INDEX = "index.faiss"
SCORES = "scores.parquet"
ANOMALY_MAPS = "anomaly_maps.npy"
SEGMENTATION_IMAGES = "segmentation_images"
CATEGORY_METRICS = "metrics.json"
METRICS_CSV = "metrics.csv"
METRICS_PARQUET = "metrics.parquet"
REPORT = "index.html"


def member_folder(folder: Path, member: int) -> Path:
    """Return the sub-folder of an ensemble member: its number in config order."""
    return folder / str(member)
