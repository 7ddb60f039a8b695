"""The last stage: one page over all categories."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from patchcore_ops.pictures import overlay_heat
from patchcore_ops.report.contents import CategoryReport, GalleryItem, ImageScores
from patchcore_ops.report.gallery import choose_items
from patchcore_ops.sections import CategoryConfig
from patchcore_ops.stages.illustrate import PredictionPictures
from patchcore_ops.stages.layout import SCORES

_PACKAGES = ("dagster", "torch", "torchvision", "timm", "faiss-cpu", "faiss-gpu", "numpy", "scipy")


def category_report(
    category: str,
    images: pd.DataFrame,
    dataset_root: Path,
    predictions: Path,
    metrics: Mapping[str, Any],
    config: CategoryConfig,
    provenance: Mapping[str, str],
) -> CategoryReport:
    """Gather what the report shows of one category.

    Parameters
    ----------
    category : str
    images : DataFrame
        The manifest's test rows.
    dataset_root : Path
        Where the manifest's paths begin.
    predictions : Path
        Folder of the stage `predict`.
    metrics : mapping
        What the stage `evaluate` found.
    config : CategoryConfig
        The category's resolved sections.
    provenance : mapping of str to str
        Data versions and the like.
    """
    scores = pd.read_parquet(predictions / SCORES)
    pictures = PredictionPictures(images, dataset_root, predictions, config.dataset)
    labels = scores["label"].astype(str).tolist()
    return CategoryReport(
        name=category,
        metrics=metrics,
        scores=ImageScores(
            labels, scores["is_anomaly"].to_numpy(dtype=bool), scores["score"].to_numpy()
        ),
        gallery=_gallery(scores, pictures, choose_items(labels, scores["score"].to_numpy())),
        config=config.model_dump(mode="json"),
        provenance=provenance,
    )


def environment() -> dict[str, str]:
    """Describe the packages and the platform at work."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**versions, "python": platform.python_version(), "platform": platform.platform()}


def _gallery(
    scores: pd.DataFrame, pictures: PredictionPictures, rows: Sequence[int]
) -> list[GalleryItem]:
    return [
        GalleryItem(
            name="/".join(Path(str(scores.loc[row, "path"])).parts[-2:]),
            label=str(scores.loc[row, "label"]),
            is_anomaly=bool(scores.loc[row, "is_anomaly"]),
            score=float(scores["score"].iloc[row]),
            image=(image := pictures.image(row)),
            mask=pictures.mask(row),
            heat=overlay_heat(image, pictures.anomaly_map(row), pictures.low, pictures.high),
        )
        for row in rows
    ]
