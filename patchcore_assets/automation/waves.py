"""Waves: one pass of the benchmark over all categories, or over those of a backfill.

The runs of a wave carry the same tag and give one block of the history. The schedule or a backfill
queues them; the sensor makes the table and the report when the last of them has finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from patchcore_assets.automation.backfills import (
    BACKFILL,
    BENCHMARK_JOB,
    Backfill,
    backfill_of_run,
    has_ended,
    recent_backfills,
    wave_name,
)
from patchcore_assets.automation.dead_runs import fail_dead_runs
from patchcore_assets.automation.lost_launches import fail_lost_launches
from patchcore_assets.pools import create_pools
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import ConfigError

SUMMARY_JOB = "summary_job"
REBENCHMARK_SCHEDULE = "rebenchmark_schedule"
SUMMARY_SENSOR = "summarise_waves"

WAVE = "patchcore/wave"
# How many runs a wave has. Only waves that say so get their summary from the sensor: whoever starts
# the runs of a wave one after the other makes the summary too.
WAVE_RUNS = "patchcore/wave_runs"
PARTITION = "dagster/partition"
_TO_MAKE_RUNS = timedelta(hours=1)


def wave_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, measured: dg.AssetKey) -> str:
    """Return the wave of a run; a run without one is a wave by itself."""
    if WAVE in run.tags:
        return run.tags[WAVE]
    if (backfill := backfill_of_run(instance, run, measured)) is not None:
        return backfill.name
    record = instance.get_run_record_by_id(run.run_id)
    started = record.start_time if record is not None else None
    moment = datetime.now(UTC) if started is None else datetime.fromtimestamp(started, UTC)
    # Several may start within a second.
    return f"{wave_name(moment)} {run.run_id[:8]}"


def wait_for_their_summary(
    instance: dg.DagsterInstance,
    run_ids: Collection[str],
    measured: dg.AssetKey,
    ends: Collection[dg.AssetKey],
) -> bool:
    """Tell whether all runs belong to waves whose summary has not been started.

    One of the `ends` tells that a backfill has made its own: others may not have been asked for.
    """
    runs = instance.get_runs(dg.RunsFilter(run_ids=sorted(run_ids)))
    names = {run.tags[WAVE] for run in runs if WAVE in run.tags}
    others = {run.tags.get(BACKFILL): run for run in runs if WAVE not in run.tags}
    return (
        len(runs) == len(run_ids)
        and not any(_has_summary(instance, name) for name in names)
        and all(
            _waits(instance, backfill_of_run(instance, run, measured), ends)
            for run in others.values()
        )
    )


def _waits(
    instance: dg.DagsterInstance, backfill: Backfill | None, ends: Collection[dg.AssetKey]
) -> bool:
    """Tell whether a backfill is a wave that will have its table and report."""
    if backfill is None or (backfill.is_over and not backfill.has_metrics):
        return False
    return not any(_is_settled(instance, backfill, end) for end in ends)


def rebenchmark_schedule(config: BenchmarkConfig) -> dg.ScheduleDefinition:
    """Define the schedule that benchmarks every category anew; it is off by default."""
    categories = config.categories
    try:

        @dg.schedule(
            name=REBENCHMARK_SCHEDULE,
            job_name=BENCHMARK_JOB,
            cron_schedule=config.schedule.cron,
            execution_timezone=config.schedule.timezone,
            default_status=dg.DefaultScheduleStatus.STOPPED,
            description="Benchmarks every category anew, as one wave; the summary follows.",
        )
        def rebenchmark(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
            create_pools(context.instance)
            return _requests_of_wave(categories, wave_name(context.scheduled_execution_time))

        return rebenchmark
    except dg.DagsterInvalidDefinitionError:
        raise ConfigError(
            f"{config.path}: schedule.cron: must be a cron expression of five fields (minute, "
            f"hour, day, month, weekday) such as '0 3 * * 0' (got {config.schedule.cron!r})"
        ) from None


def tags_of_wave(wave: str, runs: int) -> dict[str, str]:
    """Return the tags of the runs of a wave that gets its summary from the sensor."""
    return {WAVE: wave, WAVE_RUNS: str(runs)}


def _requests_of_wave(categories: Sequence[str], wave: str) -> list[dg.RunRequest]:
    tags = tags_of_wave(wave, len(categories))
    return [
        dg.RunRequest(run_key=f"{wave} {category}", partition_key=category, tags=tags)
        for category in categories
    ]


def summary_sensor(
    seconds_between_ticks: int, measured: dg.AssetKey, report: dg.AssetKey
) -> dg.SensorDefinition:
    """Define the sensor that makes the table and the report after the last run of a wave.

    Its cursor is the time up to which all waves are settled, so that a tick reads few runs; a wave
    gets one summary even if the cursor is lost. As the one sensor that is always at work, it also
    sees to the pools, to lost launches and to dead runs.
    """

    @dg.sensor(
        name=SUMMARY_SENSOR,
        job_name=SUMMARY_JOB,
        minimum_interval_seconds=seconds_between_ticks,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the table and the report when the last run of a wave has finished.",
    )
    def summarise_waves(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        create_pools(context.instance)
        fail_lost_launches(context.instance, context.log)
        fail_dead_runs(context.instance, context.log)
        recent = _benchmark_runs(context.instance, since=context.cursor)
        # After the runs: what is not settled when it is read here is newer than all of them.
        backfills = recent_backfills(context.instance, context.cursor, measured)
        waves: list[_ScheduledWave | Backfill]
        waves = [*_scheduled_waves(context.instance, recent), *backfills]
        requests, notes, still_open = [], [], []
        for wave in waves:
            if _is_settled(context.instance, wave, report):
                continue
            if not wave.is_over:
                still_open.append(wave.created)
            elif wave.has_metrics:
                tags = {WAVE: wave.name}
                requests.append(dg.RunRequest(run_key=f"summary of {wave.name}", tags=tags))
            else:
                notes.append(f"no run of wave {wave.name} succeeded, so it has no summary")
        for note in notes:
            context.log.warning(note)
        seen = [run.create_timestamp for run in recent] + [one.created for one in backfills]
        settled = [moment for moment in seen if not still_open or moment < min(still_open)]
        waiting = "a wave is at work" if still_open else "no wave is at work"
        return dg.SensorResult(
            run_requests=requests,
            cursor=max(settled).isoformat() if settled else context.cursor,
            skip_reason=None if requests else "; ".join(notes) or waiting,
        )

    return summarise_waves


@dataclass(frozen=True)
class _ScheduledWave:
    """A wave whose runs are tagged with their number."""

    name: str
    created: datetime
    is_over: bool
    has_metrics: bool


def _scheduled_waves(
    instance: dg.DagsterInstance, recent: Sequence[dg.RunRecord]
) -> Iterator[_ScheduledWave]:
    """Yield the scheduled waves among runs given oldest first."""
    first_run: dict[str, dg.RunRecord] = {}
    for record in recent:
        if record.dagster_run.tags.keys() >= {WAVE, WAVE_RUNS}:
            first_run.setdefault(record.dagster_run.tags[WAVE], record)
    for name, first in first_run.items():
        runs = _benchmark_runs(instance, wave=name)
        succeeded = any(one.dagster_run.is_success for one in runs)
        yield _ScheduledWave(name, first.create_timestamp, _is_over(instance, runs), succeeded)


def _is_settled(
    instance: dg.DagsterInstance, wave: _ScheduledWave | Backfill, report: dg.AssetKey
) -> bool:
    """Tell whether a wave has its table and report, or a run that makes them."""
    has_own = isinstance(wave, Backfill) and wave.is_over and wave.is_reported(report)
    return has_own or _has_summary(instance, wave.name)


def _benchmark_runs(
    instance: dg.DagsterInstance, since: str | None = None, wave: str | None = None
) -> list[dg.RunRecord]:
    """Return the benchmark's runs after a time, or of one wave; the oldest first."""
    wanted = dg.RunsFilter(
        job_name=BENCHMARK_JOB,
        created_after=None if since is None else datetime.fromisoformat(since),
        tags={} if wave is None else {WAVE: wave},
    )
    return list(instance.get_run_records(wanted, ascending=True))


def _is_over(instance: dg.DagsterInstance, runs: Sequence[dg.RunRecord]) -> bool:
    """Tell whether all runs of a wave have been made and have finished.

    They are made together. Those that are missing for long have been deleted.
    """
    categories = {record.dagster_run.tags.get(PARTITION) for record in runs}
    expected = int(runs[0].dagster_run.tags[WAVE_RUNS])
    finished = all(has_ended(instance, record.dagster_run) for record in runs)
    is_whole = len(categories) >= expected
    return finished and (is_whole or datetime.now(UTC) - runs[0].create_timestamp > _TO_MAKE_RUNS)


def _has_summary(instance: dg.DagsterInstance, wave: str) -> bool:
    summaries = dg.RunsFilter(job_name=SUMMARY_JOB, tags={WAVE: wave})
    return instance.get_runs_count(summaries) > 0
