"""What a tuned process does differently, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_REPORT = """
import gc, json, os, resource
from patchcore_ops.process import tune_process
tune_process()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytes([1]) * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
print(json.dumps({
    "threads": os.environ["OMP_NUM_THREADS"],
    "wait": os.environ["OMP_WAIT_POLICY"],
    "threshold": gc.get_threshold()[0],
    "collects": gc.isenabled(),
    "faults": [first, faults()],
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
        "from patchcore_ops.processors import available_processors\n"
        "from patchcore_ops.process import tune_process\n"
        "before = available_processors(); tune_process()\n"
        "import numpy, threadpoolctl\n"
        "found = {one['num_threads'] for one in threadpoolctl.threadpool_info()}\n"
        "print(found == {before}, os.environ['OMP_NUM_THREADS'] == str(before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["True", "True"]


def test_threads_sleep_unless_the_user_says_otherwise() -> None:
    assert _tuned(OMP_WAIT_POLICY="active")["wait"] == "active"
    plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    result = subprocess.run(
        [sys.executable, "-c", _REPORT], env=plain, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["wait"] == "passive"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt belongs to glibc")
def test_freed_memory_is_used_again() -> None:
    first, second = _tuned()["faults"]  # type: ignore[misc]
    assert first > 1000
    assert second < first / 10


def test_collector_still_runs() -> None:
    tuned = _tuned()
    assert tuned["collects"]
    assert tuned["threshold"] == 500_000


_RESIDENT = """
import json, os
from patchcore_ops.process import return_freed_memory, tune_process
tune_process()
def resident():
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
blocks = [bytes([1]) * (8 << 20) for _ in range(16)]
full = resident()
del blocks
kept = resident()
return_freed_memory()
print(json.dumps([full, kept, resident()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc_trim belongs to glibc")
def test_kept_memory_can_be_returned() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _RESIDENT], capture_output=True, text=True, check=True
    )
    full, kept, returned = json.loads(result.stdout)
    assert kept > full - (16 << 20)
    assert returned < full - (100 << 20)


_END = """
import atexit, gc, sys, types
if {reported}:
    sys.modules["triton"] = types.ModuleType("triton")
# What is registered first is called last.
atexit.register(lambda: print(gc.get_freeze_count() > 1000))
from patchcore_ops.process import tune_process
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
