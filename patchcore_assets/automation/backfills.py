"""Backfills that a user starts in the UI; each one is a wave.

Dagster starts one run for each category, all with the tag of the backfill. If one of them fails,
Dagster leaves out the assets over all categories; `automation.waves` makes those.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    PartitionBackfill,
)

BENCHMARK_JOB = "benchmark_job"
BACKFILL = "dagster/backfill"
_WILL_RETRY = "dagster/will_retry"
_SECONDS_UNTIL_DECIDED = 60.0


def has_ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether a run has finished, and Dagster will not start it again by itself."""
    if not run.is_finished or run.is_complete_and_waiting_to_retry:
        return False
    is_failed = run.status is dg.DagsterRunStatus.FAILURE
    if not is_failed or not instance.run_retries_enabled or _WILL_RETRY in run.tags:
        return True
    # Dagster says so a moment after the failure, unless it died in between or retried none then.
    record = instance.get_run_record_by_id(run.run_id)
    return record is None or time.time() - (record.end_time or 0.0) > _SECONDS_UNTIL_DECIDED


def wave_name(moment: datetime) -> str:
    """Name a wave by the time it was due or started: UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def new_wave_name() -> str:
    """Name a wave that a command starts now; another may start within the same second."""
    return f"{wave_name(datetime.now(UTC))} {uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Backfill:
    """A backfill that makes the `measured` asset; `is_submitted` if no more runs start."""

    instance: dg.DagsterInstance
    id: str
    measured: dg.AssetKey
    created: datetime
    is_submitted: bool

    @property
    def name(self) -> str:
        """The name of the wave."""
        return f"{wave_name(self.created)} {self.id}"

    @cached_property
    def runs(self) -> Sequence[dg.RunRecord]:
        """All its runs so far."""
        return self.instance.get_run_records(dg.RunsFilter(tags={BACKFILL: self.id}))

    @property
    def is_over(self) -> bool:
        """Whether all its runs have been started and have finished.

        Dagster keeps a backfill of assets open for runs that it starts again; once a backfill has
        ended (one of a job does when all runs are queued) it starts none again.
        """
        return self.is_submitted and all(record.dagster_run.is_finished for record in self.runs)

    @property
    def has_metrics(self) -> bool:
        """Whether it has made the metrics of any category."""
        return bool(self._measured)

    def is_reported(self, report: dg.AssetKey) -> bool:
        """Tell whether any report was made after the last run that measured a category."""
        made = self.instance.get_latest_materialization_event(report)
        ends = [record.end_time or 0.0 for record in self._measured]
        return made is not None and bool(ends) and made.timestamp > max(ends)

    @property
    def _measured(self) -> list[dg.RunRecord]:
        return [
            record
            for record in self.runs
            if record.dagster_run.status is dg.DagsterRunStatus.SUCCESS
            and self.measured in (record.dagster_run.asset_selection or {self.measured})
        ]


def backfill_of_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, measured: dg.AssetKey
) -> Backfill | None:
    """Return the backfill of a run, if it makes the metrics of categories."""
    backfill = instance.get_backfill(run.tags[BACKFILL]) if BACKFILL in run.tags else None
    return None if backfill is None else _described(instance, backfill, measured)


def recent_backfills(
    instance: dg.DagsterInstance, since: str | None, measured: dg.AssetKey
) -> list[Backfill]:
    """Return the backfills that make metrics of categories, created after a time, oldest first."""
    after = None
    if since is not None:
        after = datetime.fromisoformat(since).astimezone(UTC).replace(tzinfo=None)
    found = [
        _described(instance, backfill, measured)
        for backfill in instance.get_backfills(BulkActionsFilter(created_after=after))
    ]
    return sorted((one for one in found if one is not None), key=lambda one: one.created)


def _described(
    instance: dg.DagsterInstance, backfill: PartitionBackfill, measured: dg.AssetKey
) -> Backfill | None:
    if backfill.job_name != BENCHMARK_JOB and measured not in (backfill.asset_selection or ()):
        return None
    return Backfill(
        instance,
        backfill.backfill_id,
        measured,
        datetime.fromtimestamp(backfill.backfill_timestamp, UTC),
        backfill.status in BULK_ACTION_TERMINAL_STATUSES,
    )
