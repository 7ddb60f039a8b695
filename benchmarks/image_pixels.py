"""Metrics in the images' own pixels, where inputs of different sizes and crops compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.metrics.category import category_metrics
from patchcore_ops.stages import layout


def judge_in_images(root: Path, predictions: Path, config: CategoryConfig) -> dict[str, Any]:
    """Return `category_metrics` of predictions in the images' own pixels.

    What the network did not see has the least score of all. Images smaller than the largest are
    filled up with NaN, which does not count.
    """
    scores = layout.read_scores(predictions)
    images = layout.test_rows(layout.read_images(predictions))
    of_input = np.load(predictions / layout.ANOMALY_MAPS, mmap_mode="r", allow_pickle=False)
    shape = len(images), int(images["height"].max()), int(images["width"].max())
    maps = np.full(shape, np.nan, dtype=np.float32)
    masks = np.zeros(shape, dtype=np.uint8)
    least = float(np.nanmin(of_input))
    files = layout.mask_files(images, root)
    for row, file in enumerate(files):
        width, height = int(images["width"][row]), int(images["height"][row])
        seen = Crop.of(width, height, config.dataset).map_in_image(np.asarray(of_input[row]))
        maps[row, :height, :width] = np.nan_to_num(seen, nan=least)
        if file is not None:
            with Image.open(file) as mask:
                masks[row, :height, :width] = np.where(np.asarray(mask.convert("L")) > 0, 255, 0)
    has_mask = np.array([file is not None for file in files], dtype=bool)
    has_truth = has_mask | ~scores["is_anomaly"].to_numpy(dtype=bool)
    return category_metrics(scores, maps, masks, has_truth, config.metrics)
