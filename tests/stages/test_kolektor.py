"""Real tall images: the whole of them against their centre, judged in the images' own pixels."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from kolektor import CATEGORY, lay_out
from PIL import Image

from patchcore_ops.config.presets import PRESETS
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset import scan_category
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.metrics.ranking import auroc, rank
from patchcore_ops.metrics.region_overlap import aupro
from patchcore_ops.stages.faiss_index import index_memory_bank
from patchcore_ops.stages.layout import ANOMALY_MAPS, mask_files, read_images, read_scores
from patchcore_ops.stages.layout import test_rows as rows_of_test
from patchcore_ops.stages.memory_bank import select_memory_bank
from patchcore_ops.stages.predictions import predict
from patchcore_ops.stages.raw_embeddings import embed_images

RUNTIME = RuntimeSection(device="cpu", num_workers=1, faiss_num_workers=1)
MEMBER = {"backbone": "efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}
CENTRE = {"resize": 256, "imagesize": 224}
WHOLE = {"resize": 256, "imagesize": [640, 256]}


class Figures(NamedTuple):
    image_auroc: float
    aupro: float  # over every defect, in the images' own pixels


def config_of(dataset: dict[str, object], preset: str) -> CategoryConfig:
    filled = {name: dict(keys) for name, keys in PRESETS[preset].items()}
    embedding = {**filled.get("embedding", {}), "members": [MEMBER]}
    coreset = {"percentage": 0.01, **filled.get("coreset", {})}
    return CategoryConfig.model_validate(
        {**filled, "dataset": dataset, "embedding": embedding, "coreset": coreset}
    )


def figures(root: Path, folder: Path, config: CategoryConfig) -> Figures:
    """Run the stages; a pixel that the network did not see has the least score of all."""
    embeddings, bank, index, predictions = (folder / name for name in "ebip")
    if not embeddings.exists():
        images = scan_category(root, CATEGORY).images
        embed_images(images, root, config, RUNTIME, embeddings)
    select_memory_bank(embeddings, config, RUNTIME, bank)
    index_memory_bank(bank, config, index)
    predict(embeddings, index, config, RUNTIME, predictions)
    scores = read_scores(predictions)
    is_anomaly = scores["is_anomaly"].to_numpy(dtype=bool)
    maps, masks = in_images(root, predictions, config)
    return Figures(
        auroc(rank(scores["score"].to_numpy(dtype=np.float64), is_anomaly)), aupro(maps, masks)
    )


def in_images(
    root: Path, predictions: Path, config: CategoryConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return maps and masks in the images' own pixels; beyond a smaller image, maps are NaN."""
    images: pd.DataFrame = rows_of_test(read_images(predictions))
    of_input = np.load(predictions / ANOMALY_MAPS)
    shape = len(images), int(images["height"].max()), int(images["width"].max())
    maps, masks = np.full(shape, np.nan, dtype=np.float32), np.zeros(shape, dtype=bool)
    for row, file in enumerate(mask_files(images, root)):
        width, height = int(images["width"][row]), int(images["height"][row])
        seen = Crop.of(width, height, config.dataset).map_in_image(of_input[row])
        maps[row, :height, :width] = np.nan_to_num(seen, nan=float(np.nanmin(of_input)))
        if file is not None:
            masks[row, :height, :width] = np.asarray(Image.open(file)) > 0
    return maps, masks


def test_the_whole_image_shows_defects_that_its_centre_lacks(
    reference_data: Path, tmp_path: Path
) -> None:
    source = reference_data / "data" / "kolektor"
    if not source.is_dir():
        pytest.skip(f"{source} does not exist")
    root = lay_out(source, tmp_path)
    centre, whole = (
        figures(root, tmp_path / name, config_of(dataset, "accurate"))
        for name, dataset in (("centre", CENTRE), ("whole", WHOLE))
    )
    assert whole.aupro > centre.aupro
    assert whole.image_auroc > centre.image_auroc
