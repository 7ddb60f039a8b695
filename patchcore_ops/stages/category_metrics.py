"""The stage `category_metrics`: metrics of the predictions of a category."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.masks import load_masks
from patchcore_ops.dataset.recorded_files import unchanged
from patchcore_ops.metrics.category import category_metrics
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.stages import layout


def evaluate(
    category: str,
    dataset_root: Path,
    predictions: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    hash_of: HashOf = file_hash,
) -> dict[str, Any]:
    """Compute the metrics of one category and write `metrics.json`.

    Raises DatasetError if a mask cannot be used, or has changed since its image was scored.
    """
    images = layout.read_scores(predictions)
    mask_paths = layout.mask_files(images, dataset_root)
    has_mask = np.array([path is not None for path in mask_paths], dtype=bool)
    with unchanged(layout.recorded_masks(images, dataset_root), "image_manifest", hash_of):
        masks = load_masks(mask_paths, config.dataset, runtime.num_workers)
    result = {
        "category": category,
        **category_metrics(
            images,
            np.load(predictions / layout.ANOMALY_MAPS, mmap_mode="r", allow_pickle=False),
            masks,
            has_mask | ~images["is_anomaly"].to_numpy(dtype=bool),
            config.metrics,
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / layout.CATEGORY_METRICS).write_text(
        json.dumps(_without_nan(result), indent=2) + "\n", encoding="utf-8"
    )
    return result


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read `metrics.json`; undefined metrics, null in the file, become NaN again."""
    content: dict[str, Any] = json.loads(
        (folder / layout.CATEGORY_METRICS).read_text(encoding="utf-8")
    )
    for table in (content, *content["per_defect"]):
        table.update({key: math.nan for key, value in table.items() if value is None})
    return content


def _without_nan(content: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
