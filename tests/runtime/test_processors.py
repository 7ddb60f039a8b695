"""The processors that a process may use, by affinity, control groups and the user's own number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patchcore_ops.runtime import control_groups
from patchcore_ops.runtime.processors import available_processors

V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend to be on a machine of 16 processors without limits; return its control groups."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(16)), raising=False)
    monkeypatch.setattr(control_groups, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "_OWN_CGROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def belong_to(machine: Path, *lines: str) -> None:
    machine.with_name("own").write_text("\n".join(lines) + "\n")


def limit(folder: Path, quota: str, period: str = "100000") -> None:
    """Write the quota as version 2 does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{quota} {period}\n")


def limit_v1(folder: Path, quota: str, period: str = "100000") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(V1, (quota, period), strict=True):
        (folder / name).write_text(f"{value}\n")


def test_without_affinity_it_is_the_machines_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert available_processors() == 12


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000", 2), ("250000", 3), ("50000", 1), ("6400000", 16), ("max", 16)],
)
def test_a_quota_is_rounded_up(machine: Path, quota: str, expected: int) -> None:
    assert available_processors() == 16
    belong_to(machine, "0::/")
    assert available_processors() == 16
    limit(machine, quota)
    assert available_processors() == expected


def test_the_tightest_group_above_counts(machine: Path) -> None:
    belong_to(machine, "0::/pod/container")
    limit(machine / "pod" / "container", "max")
    limit(machine / "pod", "300000")
    limit(machine / "another", "100000")
    assert available_processors() == 3
    limit(machine / "pod" / "container", "150000")
    assert available_processors() == 2


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize("folder", ["", "docker/0f"])
def test_version_1_is_read_from_inside_and_outside(machine: Path, mount: str, folder: str) -> None:
    belong_to(machine, "5:memory:/docker/0f", "3:cpu,cpuacct:/docker/0f", "0::/")
    limit_v1(machine / "memory", "100000")
    limit_v1(machine / mount / folder, "-1")
    assert available_processors() == 16
    limit_v1(machine / mount / folder, "400000")
    assert available_processors() == 4


def test_version_2_beside_version_1(machine: Path) -> None:
    belong_to(machine, "3:cpuset:/", "0::/job")
    limit(machine / "unified" / "job", "500000")
    assert available_processors() == 5


def test_the_users_own_number_wins(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    belong_to(machine, "0::/")
    limit(machine, "200000")
    for value, expected in (("7", 7), (" 4,2", 4), ("", 2), ("0", 2), ("many", 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert available_processors() == expected, value


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="macOS binds no process")
def test_a_process_bound_to_one_processor_has_one() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from patchcore_ops.runtime.processors import available_processors\n"
        "print(available_processors())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "1"
