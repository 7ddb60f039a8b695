"""Waves: a wave is one pass of the benchmark over all categories, or over those of a backfill.

Its runs carry the same tag, so that they are found together in the run list, and so that the
history of the table has one block for each wave. The schedule or a backfill starts a wave of queued
runs, and the sensor makes the table and the report when the last of them has finished, however it
finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from patchcore_assets.automation.backfills import (
    BACKFILL,
    Backfill,
    backfill_of,
    recent_backfills,
)
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import ConfigError

BENCHMARK_JOB = "benchmark_job"
SUMMARY_JOB = "summary_job"
REBENCHMARK_SCHEDULE = "rebenchmark_schedule"
SUMMARY_SENSOR = "summarise_waves"

WAVE = "patchcore/wave"
# How many runs a wave has. Only waves that say so get their summary from the sensor: whoever starts
# the runs of a wave one after the other makes the summary too.
WAVE_RUNS = "patchcore/wave_runs"
PARTITION = "dagster/partition"


def wave_name(moment: datetime) -> str:
    """Name a wave by when it was due or started: UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def wave_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, measured: dg.AssetKey) -> str:
    """Return the wave that a run belongs to; a run of no wave is one by itself.

    Parameters
    ----------
    instance : DagsterInstance
    run : DagsterRun
    measured : AssetKey
        What a wave makes for each category.
    """
    if WAVE in run.tags:
        return run.tags[WAVE]
    if (backfill := _backfill(instance, run.tags.get(BACKFILL), measured)) is not None:
        return _name_of(backfill)
    record = instance.get_run_record_by_id(run.run_id)
    started = record.start_time if record is not None else None
    moment = datetime.now(UTC) if started is None else datetime.fromtimestamp(started, UTC)
    # Several may start within a second.
    return f"{wave_name(moment)} {run.run_id[:8]}"


def wait_for_their_summary(
    instance: dg.DagsterInstance,
    run_ids: Collection[str],
    measured: dg.AssetKey,
    report: dg.AssetKey,
) -> bool:
    """Tell whether all runs belong to waves for which the summary has not been started.

    Parameters
    ----------
    instance : DagsterInstance
    run_ids : collection of str
    measured : AssetKey
        What a wave makes for each category.
    report : AssetKey
        What its summary makes last.
    """
    runs = instance.get_runs(dg.RunsFilter(run_ids=sorted(run_ids)))
    names = {run.tags[WAVE] for run in runs if WAVE in run.tags}
    backfills = {run.tags.get(BACKFILL) for run in runs if WAVE not in run.tags}
    return (
        len(runs) == len(run_ids)
        and not any(_has_summary(instance, name) for name in names)
        and all(
            _waits(_backfill(instance, backfill_id, measured), report) for backfill_id in backfills
        )
    )


def _waits(backfill: Backfill | None, report: dg.AssetKey) -> bool:
    """Tell whether there is a backfill that is a wave and will have its table and report."""
    if backfill is None or (backfill.is_over and not backfill.has_metrics):
        return False
    return not _is_settled(backfill.instance, _wave_of_backfill(backfill, report))


def rebenchmark_schedule(config: BenchmarkConfig) -> dg.ScheduleDefinition:
    """Define the schedule that benchmarks every category anew; it is off until turned on.

    Raises
    ------
    ConfigError
        If `schedule.cron` is no cron expression.
    """
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
            return _requests_of_wave(categories, wave_name(context.scheduled_execution_time))

        return rebenchmark
    except dg.DagsterInvalidDefinitionError:
        raise ConfigError(
            f"{config.path}: schedule.cron: must be a cron expression of five fields (minute, "
            f"hour, day, month, weekday) such as '0 3 * * 0' (got {config.schedule.cron!r})"
        ) from None


def _requests_of_wave(categories: Sequence[str], wave: str) -> list[dg.RunRequest]:
    return [
        dg.RunRequest(
            run_key=f"{wave} {category}",
            partition_key=category,
            tags={WAVE: wave, WAVE_RUNS: str(len(categories))},
        )
        for category in categories
    ]


def summary_sensor(
    seconds_between_ticks: int, measured: dg.AssetKey, report: dg.AssetKey
) -> dg.SensorDefinition:
    """Define the sensor that makes the table and the report after the last run of a wave.

    It is on by default: without waves there is nothing for it to do. Its cursor is the time up to
    which all waves are settled, so a tick reads few runs; a wave gets one summary even if the
    cursor is lost.

    Parameters
    ----------
    seconds_between_ticks : int
    measured : AssetKey
        What a wave makes for each category.
    report : AssetKey
        What its summary makes last.
    """

    @dg.sensor(
        name=SUMMARY_SENSOR,
        job_name=SUMMARY_JOB,
        minimum_interval_seconds=seconds_between_ticks,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the table and the report when the last run of a wave has finished.",
    )
    def summarise_waves(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        recent = _benchmark_runs(context.instance, since=context.cursor)
        # After the runs: what is not settled when it is read here is newer than all of them.
        backfills = recent_backfills(context.instance, context.cursor, BENCHMARK_JOB, measured)
        requests, notes, still_open = [], [], []
        for wave in [
            *_scheduled_waves(context.instance, recent),
            *(_wave_of_backfill(backfill, report) for backfill in backfills),
        ]:
            if _is_settled(context.instance, wave):
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
        seen = [*map(_created, recent), *(backfill.created for backfill in backfills)]
        settled = [moment for moment in seen if not still_open or moment < min(still_open)]
        waiting = "a wave is at work" if still_open else "no wave is at work"
        return dg.SensorResult(
            run_requests=requests,
            cursor=max(settled).isoformat() if settled else context.cursor,
            skip_reason=None if requests else "; ".join(notes) or waiting,
        )

    return summarise_waves


@dataclass(frozen=True)
class _Wave:
    """What the sensor has to know of a wave."""

    name: str
    created: datetime
    is_over: bool
    has_metrics: bool
    is_reported: bool = False


def _scheduled_waves(
    instance: dg.DagsterInstance, recent: Sequence[dg.RunRecord]
) -> Iterator[_Wave]:
    """Yield the waves whose runs say how many they are, among runs given oldest first."""
    first_run: dict[str, dg.RunRecord] = {}
    for record in recent:
        if record.dagster_run.tags.keys() >= {WAVE, WAVE_RUNS}:
            first_run.setdefault(record.dagster_run.tags[WAVE], record)
    for name, first in first_run.items():
        runs = _benchmark_runs(instance, wave=name)
        succeeded = any(one.dagster_run.status is dg.DagsterRunStatus.SUCCESS for one in runs)
        yield _Wave(name, _created(first), _is_over(runs), succeeded)


def _wave_of_backfill(backfill: Backfill, report: dg.AssetKey) -> _Wave:
    return _Wave(
        _name_of(backfill),
        backfill.created,
        backfill.is_over,
        backfill.has_metrics,
        backfill.is_reported(report),
    )


def _name_of(backfill: Backfill) -> str:
    return f"{wave_name(backfill.created)} {backfill.id}"


def _backfill(
    instance: dg.DagsterInstance, identifier: str | None, measured: dg.AssetKey
) -> Backfill | None:
    if identifier is None:
        return None
    return backfill_of(instance, identifier, BENCHMARK_JOB, measured)


def _is_settled(instance: dg.DagsterInstance, wave: _Wave) -> bool:
    """Tell whether a wave has its table and report, or a run that makes them."""
    return (wave.is_over and wave.is_reported) or _has_summary(instance, wave.name)


def _benchmark_runs(
    instance: dg.DagsterInstance, since: str | None = None, wave: str | None = None
) -> list[dg.RunRecord]:
    """Return the runs of the benchmark, created after a time or of one wave; the oldest first."""
    wanted = dg.RunsFilter(
        job_name=BENCHMARK_JOB,
        created_after=None if since is None else datetime.fromisoformat(since),
        tags={} if wave is None else {WAVE: wave},
    )
    return list(instance.get_run_records(wanted, ascending=True))


def _is_over(runs: Sequence[dg.RunRecord]) -> bool:
    """Tell whether all runs of a wave have been started and have finished."""
    categories = {record.dagster_run.tags.get(PARTITION) for record in runs}
    expected = int(runs[0].dagster_run.tags[WAVE_RUNS])
    finished = all(record.dagster_run.is_finished for record in runs)
    return finished and len(categories) >= expected


def _has_summary(instance: dg.DagsterInstance, wave: str) -> bool:
    summaries = dg.RunsFilter(job_name=SUMMARY_JOB, tags={WAVE: wave})
    return instance.get_runs_count(summaries) > 0


def _created(record: dg.RunRecord) -> datetime:
    return record.create_timestamp
