"""Random sequences of edits, runs and kills, and three faults of earlier releases to be found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def tried(figures: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    process = subprocess.run(
        [sys.executable, "-m", "tests.truth", "--figures", str(figures), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    said = process.stdout + process.stderr
    assert figures.is_file(), said
    return process.returncode, said, json.loads(figures.read_text(encoding="utf-8"))


def test_everything_shown_is_what_it_claims_to_be(tmp_path: Path) -> None:
    code, said, figures = tried(tmp_path / "figures.json", "--sequences", "4")
    assert code == 0, said
    assert (figures["sequences"], figures["sequences_wrong"]) == (4, 0)
    assert figures["claims_compared"] > 400


@pytest.mark.parametrize(
    ("fault", "seed", "found"),
    [
        ("position", 1, "fabric/test/good/000.png has the score"),
        ("refused", 0, "another version is current"),
        ("file", 0, "the configuration is not the one of its figures"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, fault: str, seed: int, found: str) -> None:
    where = ("--seed", str(seed), "--sequences", "20", "--plant", fault)
    code, said, _ = tried(tmp_path / "figures.json", *where)
    assert code == 1
    assert found in said
