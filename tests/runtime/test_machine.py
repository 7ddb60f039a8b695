"""The memory that a process may use, by its control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchcore_ops.runtime import control_groups
from patchcore_ops.runtime.machine import product_speed, this_machine, usable_memory


@pytest.mark.parametrize(
    ("line", "file"),
    [("0::/pod/job", "memory.max"), ("4:memory:/pod/job", "memory/memory.limit_in_bytes")],
)
def test_the_tightest_limit_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, file: str
) -> None:
    monkeypatch.setattr(control_groups, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "_OWN_CGROUPS", tmp_path / "own")
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_memory() == whole
    (tmp_path / "own").write_text(line + "\n")
    mount, _, name = file.rpartition("/")
    for group, limit in (("pod/job", "max"), ("pod", "50000000"), ("other", "1000")):
        folder = tmp_path / "groups" / mount / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(limit + "\n")
    assert usable_memory() == 50_000_000


def test_this_machine_is_described(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    assert machine.host
    assert machine.disk > 0
    assert 1e8 < product_speed() < 1e13
