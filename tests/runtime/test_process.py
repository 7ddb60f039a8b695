"""What a tuned process does differently, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_2013 = "fpu sse2 fma avx avx2"
_2017 = f"{_2013} avx512f avx512dq avx512cd avx512bw avx512vl"


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


@pytest.mark.parametrize(
    ("flags", "own", "expected"),
    [
        ("fpu sse2", {}, "None"),
        (_2013, {}, "HASWELL"),
        (_2017, {}, "SKYLAKEX"),
        (f"{_2013} avx512f avx512cd", {}, "HASWELL"),
        (_2017, {"OPENBLAS_CORETYPE": "ZEN"}, "ZEN"),
        (None, {}, "None"),
    ],
)
def test_openblas_is_told_what_the_processor_can(
    tmp_path: Path, flags: str | None, own: dict[str, str], expected: str
) -> None:
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n")
    first = (
        "from pathlib import Path; from patchcore_ops.runtime import process\n"
        f"process._PROCESSORS = Path({str(file)!r})"
    )
    assert tuned("import os; print(os.environ.get('OPENBLAS_CORETYPE'))", first, **own) == [
        expected
    ]


def test_faiss_computes_with_the_kernels_that_it_was_told() -> None:
    tuned(
        "import faiss, os, threadpoolctl\n"
        "for one in threadpoolctl.threadpool_info():\n"
        "    if one['user_api'] == 'blas' and one['internal_api'] == 'openblas':\n"
        "        told = os.environ.get('OPENBLAS_CORETYPE', one['architecture'])\n"
        "        assert one['architecture'].upper() == told.upper(), one"
    )


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
