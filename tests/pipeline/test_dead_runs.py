"""Started runs whose process was killed, with nobody to say so."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from pipeline_kit import CATEGORY, Site, make_site
from test_lost_launches import FarLauncher, launching_by, nothing

from patchcore_assets.automation.dead_runs import fail_dead_runs
from patchcore_assets.executor import PROCESS, STEP_PODS_VARIABLE, process_tags
from patchcore_ops.runtime.process_identity import ProcessIdentity

LOG = logging.getLogger(__name__)


def run_of(
    instance: dg.DagsterInstance, process: ProcessIdentity | None, status: str = "STARTED"
) -> dg.DagsterRun:
    tags = {} if process is None else {PROCESS: str(process)}
    return instance.create_run_for_job(nothing, status=dg.DagsterRunStatus(status), tags=tags)


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


def this_process() -> ProcessIdentity:
    found = ProcessIdentity.of_this()
    assert found is not None
    return found


def test_only_a_run_whose_process_has_ended_fails(instance: dg.DagsterInstance) -> None:
    gone = this_process()._replace(started="1")
    dead = [run_of(instance, gone, status) for status in ("STARTED", "CANCELING")]
    others = [
        run_of(instance, this_process()),
        run_of(instance, None),
        run_of(instance, gone._replace(namespace="pid:[1]")),
        run_of(instance, gone, "NOT_STARTED"),
        run_of(instance, gone, "SUCCESS"),
    ]
    before = [status_of(instance, run) for run in others]
    fail_dead_runs(instance, LOG)
    assert [status_of(instance, run) for run in dead] == ["FAILURE", "FAILURE"]
    assert [status_of(instance, run) for run in others] == before
    [event] = instance.all_logs(dead[0].run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert f"Its process ({gone.pid}) was killed, or its machine went down" in event.message


def test_a_launcher_that_knows_of_its_processes_is_left_to_dagster() -> None:
    with launching_by(FarLauncher) as instance:
        run = run_of(instance, this_process()._replace(started="1"))
        fail_dead_runs(instance, LOG)
        assert status_of(instance, run) == "STARTED"


def test_where_steps_are_pods_no_process_is_that_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert process_tags() == {PROCESS: str(this_process())}
    monkeypatch.setenv(STEP_PODS_VARIABLE, "pods.yaml")
    assert process_tags() == {}


@pytest.fixture
def site(tmp_path: Path, tiny_dataset: Path) -> Site:
    return make_site(tmp_path, tiny_dataset, runtime={"engine": "torch"})


@pytest.mark.usefixtures("pip_weights")
def test_a_killed_command_leaves_no_run_at_work(site: Site) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-m", "patchcore_assets.commands.main", "benchmark", CATEGORY],
            env=site.environment,
            cwd=site.home,
        ) as command,
        dg.DagsterInstance.from_config(str(site.home)) as instance,
    ):
        until = time.monotonic() + 120
        while not any(PROCESS in run.tags for run in instance.get_runs()):
            assert time.monotonic() < until
            time.sleep(0.1)
        [run] = instance.get_runs()
        fail_dead_runs(instance, LOG)
        assert status_of(instance, run) == "STARTED"
        os.kill(command.pid, signal.SIGKILL)
        command.wait()
        fail_dead_runs(instance, LOG)
        assert status_of(instance, run) == "FAILURE"
