"""Whether a process is still there, told from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchcore_ops.runtime import process_identity as module
from patchcore_ops.runtime.process_identity import ProcessIdentity

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="Linux tells")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def identity_of(pid: int) -> ProcessIdentity:
    found = ProcessIdentity.of(str(pid))
    assert found is not None
    return found


def test_a_process_has_ended_when_it_has(other: subprocess.Popen[bytes]) -> None:
    identity = identity_of(other.pid)
    assert ProcessIdentity.read(str(identity)) == identity
    assert not identity.has_ended()
    other.kill()
    # A zombie, of which nobody has read the exit code, does nothing any more.
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert identity.has_ended()
    other.wait()
    assert identity.has_ended()


def test_another_process_of_its_number_is_not_it() -> None:
    here = identity_of(os.getpid())
    assert not here.has_ended()
    assert here._replace(started=str(int(here.started) - 1)).has_ended()


def test_what_cannot_be_seen_from_here_may_be_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = identity_of(os.getpid())._replace(started="1")
    assert not gone._replace(namespace="pid:[1]").has_ended()
    assert not gone._replace(boot="another", machine="other/host").has_ended()
    assert not gone._replace(boot="another", machine="").has_ended()
    monkeypatch.setattr(module, "_PROC", Path("/nowhere"))
    assert not gone.has_ended()


def test_a_machine_that_was_started_anew_has_ended_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MACHINE", tmp_path / "machine-id")
    assert identity_of(os.getpid()).machine == ""
    (tmp_path / "machine-id").write_text("0f1e\n")
    before = identity_of(os.getpid())._replace(boot="another")
    assert before.has_ended()


@pytest.mark.parametrize("text", ["", "a b c", "a b c d e f"])
def test_what_is_no_identity_is_none(text: str) -> None:
    assert ProcessIdentity.read(text) is None
