"""Stage 5: the metrics of a category, and the table of all categories."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from patchcore_ops.images import load_masks
from patchcore_ops.metrics import category_metrics, summary_table
from patchcore_ops.sections import CategoryConfig, RuntimeSection
from patchcore_ops.stages.layout import (
    ANOMALY_MAPS,
    CATEGORY_METRICS,
    METRICS_CSV,
    METRICS_PARQUET,
    SCORES,
    mask_files,
)


def evaluate(
    category: str,
    images: pd.DataFrame,
    dataset_root: Path,
    predictions: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
) -> dict[str, Any]:
    """Judge the predictions of one category.

    Parameters
    ----------
    category : str
    images : DataFrame
        The manifest's test rows.
    dataset_root : Path
        Where the manifest's mask paths begin.
    predictions : Path
        Folder of the stage `predict`.
    config : CategoryConfig
        Metrics section and image size.
    runtime : RuntimeSection
        Decoding workers.
    folder : Path
        Receives `metrics.json`.

    Returns
    -------
    dict
        What `patchcore_ops.metrics.category_metrics` returns, and the category's name.
    """
    mask_paths = mask_files(images, dataset_root)
    has_mask = np.array([path is not None for path in mask_paths], dtype=bool)
    result = {
        "category": category,
        **category_metrics(
            pd.read_parquet(predictions / SCORES),
            np.load(predictions / ANOMALY_MAPS, mmap_mode="r", allow_pickle=False),
            load_masks(mask_paths, config.dataset, runtime.num_workers),
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
