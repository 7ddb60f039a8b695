"""What a tuned process does differently, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_REPORT = """
import gc, json, os
from patchcore_ops.runtime.process import tune_process
tune_process()
print(json.dumps({
    "threads": os.environ["OMP_NUM_THREADS"],
    "threshold": gc.get_threshold()[0],
    "collects": gc.isenabled(),
}))
"""


def _tuned(**environment: str) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, "-c", _REPORT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(result.stdout))


def test_threads_are_the_available_processors_unless_the_user_says_otherwise() -> None:
    assert _tuned(OMP_NUM_THREADS="7")["threads"] == "7"
    script = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None)\n"
        "from patchcore_ops.runtime.processors import available_processors\n"
        "from patchcore_ops.runtime.process import tune_process\n"
        "before = available_processors(); tune_process()\n"
        "import numpy, threadpoolctl\n"
        "found = {one['num_threads'] for one in threadpoolctl.threadpool_info()}\n"
        "print(found == {before}, os.environ['OMP_NUM_THREADS'] == str(before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["True", "True"]


def test_collector_still_runs() -> None:
    tuned = _tuned()
    assert tuned["collects"]
    assert tuned["threshold"] == 500_000


_END = """
import atexit, gc, sys, types
if {reported}:
    sys.modules["triton"] = types.ModuleType("triton")
# What is registered first is called last.
atexit.register(lambda: print(gc.get_freeze_count() > 1000))
from patchcore_ops.runtime.process import tune_process
tune_process()
"""


@pytest.mark.parametrize("reported", [False, True])
def test_nothing_is_collected_at_the_end_unless_that_would_be_reported(reported: bool) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _END.format(reported=reported)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == str(not reported)


def test_definitions_leave_the_process_of_whoever_loads_them_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "patchcore.yaml").write_text("dataset: {root: data, categories: [bottle]}\n")
    script = (
        "import dagster, numpy, gc, os\n"
        "before = dict(os.environ), gc.get_threshold(), gc.isenabled(), gc.get_freeze_count()\n"
        "from patchcore_assets.definitions import defs\n"
        "assert defs().resolve_all_job_defs()\n"
        "from patchcore_ops.scoring.faiss_library import import_faiss\n"
        "import_faiss()\n"
        "after = dict(os.environ), gc.get_threshold(), gc.isenabled(), gc.get_freeze_count()\n"
        "assert after == before, (before, after)"
    )
    own = ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "PATCHCORE_CONFIG": str(tmp_path / "patchcore.yaml")},
        cwd=tmp_path,
        check=True,
    )
