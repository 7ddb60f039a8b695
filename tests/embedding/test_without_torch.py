"""From the embeddings on, no stage imports torch: a process that needs no network is spared it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchcore_ops.dataset import scan_category
from patchcore_ops.stages.layout import GRID, IMAGES, TEST_EMBEDDINGS, TRAIN_EMBEDDINGS

SIDE, DIMENSION = 6, 24
_STAGES = Path(__file__).with_name("stages_from_embeddings.py")
_NETWORK_LIBRARIES = ("torch", "torchvision", "timm")


def write_embeddings(root: Path, folder: Path) -> None:
    """Write what `embed` writes, with random embeddings."""
    images = scan_category(root, "fabric_a").images
    of_split = images["split"].value_counts()
    (folder / "0").mkdir(parents=True)
    images.assign(pixels=[f"{row:032x}" for row in range(len(images))]).to_parquet(folder / IMAGES)
    rng = np.random.default_rng(0)
    for split, file in (("train", TRAIN_EMBEDDINGS), ("test", TEST_EMBEDDINGS)):
        rows = rng.normal(size=(int(of_split[split]) * SIDE * SIDE, DIMENSION))
        np.save(folder / "0" / file, rows.astype(np.float32))
    grid = {"height": SIDE, "width": SIDE, "dimension": DIMENSION}
    grid |= {f"{split}_images": int(of_split[split]) for split in ("train", "test")}
    (folder / "0" / GRID).write_text(json.dumps(grid), encoding="utf-8")


@pytest.mark.parametrize(
    ("sampler", "device"), [("approx_greedy_coreset", "auto"), ("greedy_coreset", "cpu")]
)
def test_no_stage_after_the_embeddings_imports_torch(
    tiny_dataset: Path, tmp_path: Path, sampler: str, device: str
) -> None:
    write_embeddings(tiny_dataset, tmp_path / "embeddings")
    ran = subprocess.run(
        [sys.executable, str(_STAGES), str(tiny_dataset), str(tmp_path), sampler, device],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert found["stages"] == ["select", "index", "predict", "evaluate", "summarise", "checks"]
    assert {"numpy", "faiss", "scipy", "pandas"} <= set(found["modules"])
    assert not set(_NETWORK_LIBRARIES) & set(found["modules"])
