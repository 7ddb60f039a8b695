"""Stage 5: the metrics of a category, and the table of all categories."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.masks import load_masks
from patchcore_ops.dataset.recorded_files import unchanged
from patchcore_ops.metrics.category import category_metrics, summary_table
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.stages.layout import (
    ANOMALY_MAPS,
    CATEGORY_METRICS,
    METRICS_CSV,
    METRICS_PARQUET,
    mask_files,
    read_scores,
    recorded_masks,
)


def evaluate(
    category: str,
    dataset_root: Path,
    predictions: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    hash_of: HashOf = file_hash,
) -> dict[str, Any]:
    """Judge the predictions of one category.

    Parameters
    ----------
    category : str
    dataset_root : Path
        Where the paths of masks begin.
    predictions : Path
        Folder of the stage `predict`. The masks are those of the images that were scored.
    config : CategoryConfig
        Metrics section and image size.
    runtime : RuntimeSection
        Decoding workers.
    folder : Path
        Receives `metrics.json`.
    hash_of : callable
        Gives a file's SHA-256, by which masks that have changed since are found.

    Returns
    -------
    dict
        What `patchcore_ops.metrics.category.category_metrics` returns, and the category's name.

    Raises
    ------
    DatasetError
        If a mask cannot be used, or is not the one that belonged to the image when it was scored.
    """
    images = read_scores(predictions)
    mask_paths = mask_files(images, dataset_root)
    has_mask = np.array([path is not None for path in mask_paths], dtype=bool)
    with unchanged(recorded_masks(images, dataset_root), "image_manifest", hash_of):
        masks = load_masks(mask_paths, config.dataset, runtime.num_workers)
    result = {
        "category": category,
        **category_metrics(
            images,
            np.load(predictions / ANOMALY_MAPS, mmap_mode="r", allow_pickle=False),
            masks,
            has_mask | ~images["is_anomaly"].to_numpy(dtype=bool),
            config.metrics,
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CATEGORY_METRICS).write_text(
        json.dumps(_without_nan(result), indent=2) + "\n", encoding="utf-8"
    )
    return result


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read `metrics.json`; undefined figures, null in the file, become NaN again."""
    content: dict[str, Any] = json.loads((folder / CATEGORY_METRICS).read_text(encoding="utf-8"))
    for table in (content, *content["per_defect"]):
        table.update({key: math.nan for key, value in table.items() if value is None})
    return content


def tabulate(by_category: Mapping[str, Mapping[str, Any]], folder: Path) -> pd.DataFrame:
    """Write the table of all categories, as `metrics.csv` and `metrics.parquet`."""
    table = summary_table(by_category)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / METRICS_CSV, index=False, lineterminator="\n")
    table.to_parquet(folder / METRICS_PARQUET, index=False)
    return table


def _without_nan(content: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
