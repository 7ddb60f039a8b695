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


_KERNELS = """
import os
from pathlib import Path
from patchcore_ops.runtime import process
process._PROCESSORS = Path("{processors}")
process.tune_process()
print(os.environ.get("OPENBLAS_CORETYPE"))
"""
_OF_2013 = "fpu sse2 fma avx avx2"
_OF_2017 = f"{_OF_2013} avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("flags", "own", "expected"),
    [
        ("fpu sse2", None, "None"),
        (_OF_2013, None, "HASWELL"),
        (_OF_2017, None, "SKYLAKEX"),
        (f"{_OF_2013} avx512f avx512cd", None, "HASWELL"),
        (_OF_2017, "ZEN", "ZEN"),
        (None, None, "None"),
    ],
)
def test_openblas_is_told_what_the_processor_can(
    tmp_path: Path, flags: str | None, own: str | None, expected: str
) -> None:
    processors = tmp_path / "cpuinfo"
    if flags is not None:
        processors.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n")
    environment = {name: os.environ[name] for name in os.environ if name != "OPENBLAS_CORETYPE"}
    result = subprocess.run(
        [sys.executable, "-c", _KERNELS.format(processors=processors)],
        env=environment | ({} if own is None else {"OPENBLAS_CORETYPE": own}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == expected


def test_faiss_computes_with_the_kernels_that_it_was_told() -> None:
    script = (
        "import os; from patchcore_ops.runtime.process import tune_process; tune_process()\n"
        "import faiss, threadpoolctl\n"
        "for one in threadpoolctl.threadpool_info():\n"
        "    if one['user_api'] == 'blas' and one['internal_api'] == 'openblas':\n"
        "        told = os.environ.get('OPENBLAS_CORETYPE', one['architecture'])\n"
        "        assert one['architecture'].upper() == told.upper(), one"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


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
