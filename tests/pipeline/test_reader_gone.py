"""Standard output that takes no more: a reader that has gone, a full disk; no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from pipeline_kit import write_config

MAIN = "patchcore_assets.commands.main"


def suspects(folder: Path, output: IO[str] | int, unbuffered: str) -> tuple[int, str]:
    """Run a command that prints a line; return its exit code, and what it says beside that."""
    config = write_config(folder / "benchmark.yaml", folder / "dataset")
    ended = subprocess.run(
        [sys.executable, "-m", MAIN, "suspects", "--config", str(config)],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_fault(tmp_path: Path, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert suspects(tmp_path, writing, unbuffered) == (141, "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_without_room_is_one_sentence(tmp_path: Path, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        code, said = suspects(tmp_path, full, unbuffered)
    assert code == 2
    [line] = said.splitlines()
    assert line.startswith("standard output: cannot be written (No space left on device)")
