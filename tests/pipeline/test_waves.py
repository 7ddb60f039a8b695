"""Waves: what the schedule asks for, when the summary follows, and what the history keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
from pipeline_kit import CATEGORY, OTHER, Configure

from patchcore_assets.automation import waves
from patchcore_assets.automation.waves import (
    BENCHMARK_JOB,
    REBENCHMARK_SCHEDULE,
    SUMMARY_JOB,
    SUMMARY_SENSOR,
    WAVE,
    WAVE_RUNS,
)
from patchcore_assets.graph import define
from patchcore_ops.config import load_config
from patchcore_ops.runtime.errors import ConfigError

SUNDAY = datetime(2026, 3, 1, 3, tzinfo=UTC)
FIRST, SECOND = "2026-03-01T03:00:00+00:00", "2026-03-08T03:00:00+00:00"


class Watched:
    """Runs of waves in a history, and the sensor that looks at them."""

    def __init__(self, config: Path, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.definitions = define(load_config(config))
        self.cursor: str | None = None

    def add(self, category: str, status: str, wave: str = FIRST, **tags: str) -> dg.DagsterRun:
        """Add a run of a wave of two."""
        return self.instance.create_run_for_job(
            self.definitions.resolve_job_def(BENCHMARK_JOB),
            status=dg.DagsterRunStatus(status),
            tags={"dagster/partition": category, WAVE: wave, WAVE_RUNS: "2", **tags},
        )

    def tick(self) -> tuple[list[str], str]:
        """Evaluate the sensor; return the waves whose summary it starts, and what it says."""
        with dg.build_sensor_context(
            self.instance, cursor=self.cursor, definitions=self.definitions
        ) as context:
            data = self.definitions.resolve_sensor_def(SUMMARY_SENSOR).evaluate_tick(context)
        self.cursor = data.cursor
        for request in data.run_requests or []:
            assert request.job_name in (None, SUMMARY_JOB)
            assert request.run_key == f"summary of {request.tags[WAVE]}"
        return [request.tags[WAVE] for request in data.run_requests or []], data.skip_message or ""

    def start_summary(self, wave: str) -> None:
        """Add the run that the daemon would start."""
        job = self.definitions.resolve_job_def(SUMMARY_JOB)
        self.instance.create_run_for_job(job, tags={WAVE: wave})

    def report(self, run: dg.DagsterRun, event: dg.DagsterEventType) -> None:
        """Let a run start to wait, or end."""
        self.instance.report_dagster_event(
            dg.DagsterEvent(event_type_value=event.value, job_name=run.job_name), run.run_id
        )


@pytest.fixture
def watched(configure: Configure) -> Iterator[Watched]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(configure(), instance)


def tick_of_schedule(config: Path, moment: datetime) -> list[dg.RunRequest]:
    definitions = define(load_config(config))
    schedule = definitions.resolve_schedule_def(REBENCHMARK_SCHEDULE)
    with (
        TemporaryDirectory() as home,
        dg.DagsterInstance.local_temp(home) as instance,
        dg.build_schedule_context(
            instance,
            scheduled_execution_time=moment,
            repository_def=definitions.get_repository_def(),
        ) as context,
    ):
        return list(schedule.evaluate_tick(context).run_requests or [])


def test_the_schedule_is_weekly_and_off(configure: Configure) -> None:
    schedule = define(load_config(configure())).resolve_schedule_def(REBENCHMARK_SCHEDULE)
    assert schedule.cron_schedule == "0 3 * * 0"
    assert schedule.execution_timezone == "UTC"
    assert schedule.job_name == BENCHMARK_JOB
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_a_tick_asks_for_one_run_for_each_category_of_one_wave(configure: Configure) -> None:
    requests = tick_of_schedule(configure(), SUNDAY)
    assert [request.partition_key for request in requests] == [CATEGORY, OTHER]
    for request in requests:
        assert request.tags[WAVE] == FIRST
        assert request.tags[WAVE_RUNS] == "2"
        assert request.tags["dagster/partition"] == request.partition_key
        assert request.run_key == f"{FIRST} {request.partition_key}"


def test_waves_are_named_in_utc_wherever_the_schedule_is(configure: Configure) -> None:
    config = configure(schedule={"cron": "0 5 * * 1-5", "timezone": "Europe/Berlin"})
    schedule = define(load_config(config)).resolve_schedule_def(REBENCHMARK_SCHEDULE)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 5 * * 1-5", "Europe/Berlin")
    moment = datetime.fromisoformat("2026-03-02T05:00:00+01:00")
    [first, _] = tick_of_schedule(config, moment)
    assert first.tags[WAVE] == "2026-03-02T04:00:00+00:00"


def test_a_wrong_schedule_is_named_with_its_key(configure: Configure) -> None:
    config = configure(schedule={"cron": "61 3 * * 0"})
    said = rf"^{config}: schedule\.cron: must be a cron expression of five fields"
    with pytest.raises(ConfigError, match=said):
        define(load_config(config))


def test_without_waves_the_sensor_does_nothing(watched: Watched) -> None:
    sensor = watched.definitions.resolve_sensor_def(SUMMARY_SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    watched.instance.create_run_for_job(
        watched.definitions.resolve_job_def(BENCHMARK_JOB), status=dg.DagsterRunStatus.SUCCESS
    )
    assert watched.tick() == ([], "no wave is at work")


def test_the_summary_follows_the_last_run_once(watched: Watched) -> None:
    slow = watched.add(CATEGORY, "STARTED")
    assert watched.tick() == ([], "a wave is at work")
    watched.add(OTHER, "FAILURE")
    assert watched.tick() == ([], "a wave is at work")
    watched.report(slow, dg.DagsterEventType.RUN_SUCCESS)
    lost = watched.cursor
    assert watched.tick()[0] == [FIRST]
    watched.start_summary(FIRST)
    assert watched.tick() == ([], "no wave is at work")
    for cursor in (lost, None):
        watched.cursor = cursor
        assert watched.tick()[0] == [], "the summary is in the history, whatever the cursor says"


@pytest.mark.parametrize("status", ["NOT_STARTED", "CANCELING"])
def test_a_run_that_has_not_ended_is_waited_for(watched: Watched, status: str) -> None:
    watched.add(CATEGORY, "SUCCESS")
    watched.add(OTHER, status)
    assert watched.tick() == ([], "a wave is at work")


def test_a_failed_run_that_dagster_starts_again_is_waited_for(watched: Watched) -> None:
    watched.add(CATEGORY, "SUCCESS")
    failed = watched.add(OTHER, "FAILURE", **{"dagster/will_retry": "true"})
    assert watched.tick() == ([], "a wave is at work")
    again = watched.add(OTHER, "STARTED", **{"dagster/parent_run_id": failed.run_id})
    watched.instance.add_run_tags(failed.run_id, {"dagster/auto_retry_run_id": again.run_id})
    assert watched.tick() == ([], "a wave is at work")
    watched.report(again, dg.DagsterEventType.RUN_SUCCESS)
    assert watched.tick()[0] == [FIRST]


def test_runs_that_were_deleted_are_waited_for_no_longer_than_it_takes_to_make_them(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.add(CATEGORY, "SUCCESS")
    watched.instance.delete_run(watched.add(OTHER, "NOT_STARTED").run_id)
    assert watched.tick() == ([], "a wave is at work")
    monkeypatch.setattr(waves, "_TO_MAKE_RUNS", timedelta())
    assert watched.tick()[0] == [FIRST]


def test_a_wave_in_which_everything_failed_has_no_summary(watched: Watched) -> None:
    watched.add(CATEGORY, "FAILURE")
    watched.add(OTHER, "CANCELED")
    requested, said = watched.tick()
    assert requested == []
    assert said == f"no run of wave {FIRST} succeeded, so it has no summary"
    assert watched.tick() == ([], "no wave is at work")


def test_a_run_of_a_settled_wave_that_is_made_again(watched: Watched) -> None:
    watched.add(CATEGORY, "FAILURE")
    watched.add(OTHER, "FAILURE")
    assert watched.tick()[0] == []
    watched.add(OTHER, "SUCCESS")
    assert watched.tick()[0] == [FIRST], "now there is something to tabulate"
    watched.start_summary(FIRST)
    watched.add(CATEGORY, "SUCCESS")
    assert watched.tick() == ([], "no wave is at work"), "never twice for a wave"


def test_waves_that_overlap_each_get_their_own_summary(watched: Watched) -> None:
    slow = watched.add(CATEGORY, "STARTED", FIRST)
    watched.add(OTHER, "SUCCESS", FIRST)
    watched.add(CATEGORY, "SUCCESS", SECOND)
    watched.add(OTHER, "SUCCESS", SECOND)
    assert watched.tick()[0] == [SECOND]
    watched.start_summary(SECOND)
    assert watched.tick() == ([], "a wave is at work")
    watched.report(slow, dg.DagsterEventType.RUN_FAILURE)
    assert watched.tick()[0] == [FIRST]
    watched.start_summary(FIRST)
    assert watched.tick() == ([], "no wave is at work")


def test_a_wave_that_makes_its_own_summary_is_left_alone(watched: Watched) -> None:
    job = watched.definitions.resolve_job_def(BENCHMARK_JOB)
    watched.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.SUCCESS, tags={WAVE: FIRST, "dagster/partition": CATEGORY}
    )
    assert watched.tick() == ([], "no wave is at work")
