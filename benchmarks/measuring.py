"""Time and peak memory of work in fresh processes."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@dataclass(frozen=True)
class Run:
    """One process that has ended."""

    wall_seconds: float  # from its start to its end, imports included
    peak_bytes: int  # largest resident memory of the process (or of the largest of its children)
    result: dict[str, Any]  # what its task returned; empty for a plain command
    cpu_seconds: float  # of all its threads

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage, as the task itself took them."""
        return dict(self.result.get("seconds", {}))

    @property
    def peak_mb(self) -> float:
        """Peak memory in MB of 10^6 bytes."""
        return self.peak_bytes / 1e6


class Stopwatch:
    """Adds up the seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed


def run_task(
    task: str,
    arguments: Mapping[str, Any],
    threads: int,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Call a function, `module:function`, in a fresh process; it takes and returns JSON.

    Every numerical library has so many threads. `python` is that of another environment if the task
    is about its packages. Raises SystemExit as `run_command`.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        arguments_file, result_file = Path(folder, "arguments.json"), Path(folder, "result.json")
        arguments_file.write_text(json.dumps(dict(arguments)), encoding="utf-8")
        run = run_command(
            [python, "-m", "benchmarks.child", task, str(arguments_file), str(result_file)],
            threads,
            environment,
        )
        result = json.loads(result_file.read_text(encoding="utf-8"))
    return replace(run, result=result)


def run_command(
    command: Sequence[str],
    threads: int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Run:
    """Run a command to its end, with a stated number of threads.

    Raises SystemExit if it fails, with the end of what it printed.
    """
    variables = {
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(
            [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        **(environment or {}),
    }
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=variables, cwd=folder
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            tail = log.read().decode(errors="replace")[-4000:]
            raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{tail}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Run(wall_seconds, usage.ru_maxrss * 1024, {}, cpu_seconds)


def peak_mb() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def median(values: Sequence[float]) -> float:
    """Return the median, NaN of nothing."""
    return statistics.median(values) if values else float("nan")


def median_seconds(runs: Sequence[Run]) -> dict[str, float]:
    """Return the median of each stage over several runs."""
    return {stage: median([run.seconds[stage] for run in runs]) for stage in runs[0].seconds}


def run_main(main: Callable[[], None]) -> None:
    """Run a command; a mistake of the user ends it with one sentence instead of a traceback."""
    from patchcore_ops.runtime.errors import UserError

    try:
        main()
    except UserError as mistake:
        raise SystemExit(str(mistake)) from None


def positive(text: str) -> int:
    """Read a whole number from 1 on, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def say(text: str) -> None:
    """Tell the user what is going on."""
    print(text, file=sys.stderr, flush=True)
