"""Standard output that takes no more: a reader that has gone, a full disk; no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_kit import write_config

MAIN = "patchcore_assets.commands.main"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_fault(tmp_path: Path, unbuffered: str) -> None:
    config = write_config(tmp_path / "benchmark.yaml", tmp_path / "dataset")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", MAIN, "suspects", "--config", str(config)],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_without_room_is_one_sentence(tmp_path: Path, unbuffered: str) -> None:
    config = write_config(tmp_path / "benchmark.yaml", tmp_path / "dataset")
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", MAIN, "suspects", "--config", str(config)],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("standard output: cannot be written (No space left on device)")
