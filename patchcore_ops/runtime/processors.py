"""The number of processors this process may use; a container or a job may have few."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from patchcore_ops.runtime.control_groups import control_groups


def available_processors() -> int:
    """Count the processors for this process's threads.

    `OMP_NUM_THREADS` if set; else the affinity mask or the CPU quota (control groups version 1 or
    2, rounded up), whichever is less.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return min([_processors_to_run_on(), *_quotas()])


def _processors_to_run_on() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Not on macOS.
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """Yield the CPU quota of each control group that holds this process."""
    for folder in control_groups("cpu"):
        for read in (_quota, _quota_of_version_1):
            try:
                quota, period = read(folder)
            except (OSError, ValueError):
                continue  # No such file, or `max`: no limit.
            if quota > 0 and period > 0:
                yield math.ceil(quota / period)


def _quota(folder: Path) -> tuple[int, int]:
    quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return int(quota), int(period)


def _quota_of_version_1(folder: Path) -> tuple[int, int]:
    files = (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
    quota, period = (int(file.read_text(encoding="ascii")) for file in files)
    return quota, period
