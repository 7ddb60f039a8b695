"""Shards on a Ray cluster whose nodes die."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import why_not

from patchcore_assets.storage import open_store

pytest.importorskip("ray", reason="the shards of a cluster need the extra: cluster")
from shards_process import SHARDS


@pytest.mark.skipif(
    os.geteuid() != 0 or why_not() is not None, reason="Ray gets a network of its own"
)
def test_a_run_goes_on_when_all_other_nodes_die(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.run(
        [
            *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, str(Path(__file__).with_name("shards_process.py")), str(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # What the two nodes had in hand is made when the shards are opened.
    assert len(open_store(str(tmp_path)).categories("a_shards")) >= SHARDS - 2
