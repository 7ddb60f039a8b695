"""The number of processors this process may use; a container or a job may have few."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


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
    for folder in _folders():
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


def _folders() -> Iterator[Path]:
    """Yield the folders of this process's control groups and of all groups above them.

    Inside a container the path may be the one outside, which does not exist here.
    """
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = (controllers, "cpu") if controllers else ("", "unified")
        for mount in dict.fromkeys(mounts):
            group = Path(path.lstrip("/"))
            yield from (_CGROUPS / mount / part for part in (group, *group.parents))
