"""Runs whose process is gone before it could say that it had started."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import dagster as dg
import pytest
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._serdes import ConfigurableClassData
from node_launcher import NodeLauncher

from patchcore_assets.automation.backfills import has_ended
from patchcore_assets.automation.lost_launches import fail_lost_launches

LOG = logging.getLogger(__name__)


class FarLauncher(NodeLauncher):
    """Knows of processes elsewhere what the tags of their runs say."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start nothing."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if run.tags["process"] == "out of reach":
            raise RuntimeError("no answer")
        return CheckRunHealthResult(WorkerStatus(run.tags["process"]), "its node is gone")


class MissingLauncher(FarLauncher):
    """Lacks here what the daemon has."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        raise RuntimeError("RAY_DASHBOARD_URL is not set")


@contextmanager
def launching_by(launcher: type[FarLauncher]) -> Iterator[dg.DagsterInstance]:
    overrides = {
        "run_launcher": {"module": __name__, "class": launcher.__name__},
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
    }
    with dg.instance_for_test(overrides=overrides) as instance:
        yield instance


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with launching_by(FarLauncher) as instance:
        yield instance


@dg.job
def nothing() -> None:
    pass


def launched(instance: dg.DagsterInstance, process: str, status: str = "STARTING") -> dg.DagsterRun:
    return instance.create_run_for_job(
        nothing, status=dg.DagsterRunStatus(status), tags={"process": process}
    )


def test_a_lost_run_fails_and_is_tried_again(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    lost = launched(instance, "FAILED")
    others = [
        launched(instance, process, status)
        for process, status in (
            ("RUNNING", "STARTING"),  # Waits for a place, or is about to begin.
            ("UNKNOWN", "STARTING"),
            ("out of reach", "STARTING"),
            ("FAILED", "STARTED"),  # Dagster looks at those by itself.
        )
    ]
    fail_lost_launches(instance, LOG)
    fail_lost_launches(instance, LOG)
    found = instance.get_run_by_id(lost.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE
    assert found.tags["dagster/will_retry"] == "true"
    [said] = instance.all_logs(lost.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert said.message == "The run was lost before it started. its node is gone"
    for run in others:
        now = instance.get_run_by_id(run.run_id)
        assert now is not None
        assert now.status == run.status
    assert "its launcher does not say how it is: no answer" in caplog.text


def test_a_launcher_that_cannot_be_made_here_stops_no_tick(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with launching_by(MissingLauncher) as instance:
        run = launched(instance, "FAILED")
        fail_lost_launches(instance, LOG)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.STARTING
    assert "its launcher does not say how it is: RAY_DASHBOARD_URL is not set" in caplog.text


def test_a_failure_is_no_end_before_dagster_has_decided_whether_it_starts_the_run_again(
    instance: dg.DagsterInstance,
) -> None:
    runs = [launched(instance, "RUNNING", "STARTED") for _ in range(2)]
    failed = dg.DagsterEvent(event_type_value="PIPELINE_FAILURE", job_name="nothing")
    now = datetime.now(UTC)
    for run, moment in zip(runs, (now, now - timedelta(minutes=5)), strict=True):
        # The first of the two things that Dagster does; the second is the tag.
        instance.run_storage.handle_run_event(run.run_id, failed, moment)
    undecided, forgotten = (instance.get_run_by_id(run.run_id) for run in runs)
    assert undecided is not None
    assert forgotten is not None
    assert not has_ended(instance, undecided)
    assert has_ended(instance, forgotten)
    for said, ended in (("false", True), ("true", False)):
        instance.add_run_tags(undecided.run_id, {"dagster/will_retry": said})
        decided = instance.get_run_by_id(undecided.run_id)
        assert decided is not None
        assert has_ended(instance, decided) is ended
    with dg.DagsterInstance.ephemeral() as without_retries:
        assert has_ended(without_retries, undecided)


def test_a_launcher_of_this_machine_is_not_asked() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = launched(instance, "FAILED")
        fail_lost_launches(instance, LOG)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.STARTING
