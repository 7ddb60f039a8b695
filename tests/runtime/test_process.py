"""What a tuned process does differently, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def tuned(then: str, first: str = "", **environment: str) -> list[str]:
    """Run a process that tunes itself; return what it prints."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE")
    script = f"{first}\nfrom patchcore_ops.runtime import process; process.tune_process()\n{then}"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={name: os.environ[name] for name in os.environ if name not in names} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split()


def test_threads_are_the_available_processors_unless_the_user_says_otherwise() -> None:
    libraries = (
        "import os, numpy, threadpoolctl\n"
        "from patchcore_ops.runtime.processors import available_processors\n"
        "found = {one['num_threads'] for one in threadpoolctl.threadpool_info()}\n"
        "print(found == {available_processors()}, os.environ['OMP_NUM_THREADS'])"
    )
    assert tuned(libraries)[0] == "True"
    assert tuned(libraries, OMP_NUM_THREADS="1") == ["True", "1"]


@pytest.mark.parametrize("reported", [False, True])
def test_the_collector_runs_seldom_and_not_at_the_end_unless_that_would_be_reported(
    reported: bool,
) -> None:
    # What is registered first is called last.
    first = "import atexit, gc, sys, types\natexit.register(lambda: print(gc.get_freeze_count()))"
    if reported:
        first += "\nsys.modules['triton'] = types.ModuleType('triton')"
    threshold, is_enabled, frozen = tuned("print(gc.get_threshold()[0], gc.isenabled())", first)
    assert (threshold, is_enabled) == ("500000", "True")
    assert (int(frozen) > 1000) != reported


def test_definitions_leave_the_process_of_whoever_loads_them_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "patchcore.yaml").write_text("dataset: {root: data, categories: [bottle]}\n")
    script = (
        "import dagster, numpy, threadpoolctl, gc, os\n"
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
