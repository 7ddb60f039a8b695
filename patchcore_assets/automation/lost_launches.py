"""Runs that were launched and whose process is gone before it could say that it had started.

Dagster asks after the processes of started runs only. A starting run it takes for lost after
`start_timeout_seconds`, which are many where runs wait for a place.
"""

from __future__ import annotations

import logging

import dagster as dg
from dagster._core.launcher import WorkerStatus


def fail_lost_launches(instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """Fail the starting runs of which the launcher says that their process has failed."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        try:
            # Where only the daemon has the launcher's packages or addresses, this raises too.
            launcher = instance.run_launcher
            if not launcher.supports_check_run_worker_health:
                return
            health = launcher.check_run_worker_health(run)
        except Exception as problem:  # A launcher may raise whatever its client raises.
            log.warning(f"run {run.run_id}: its launcher does not say how it is: {problem}")
            continue
        if health.status is WorkerStatus.FAILED:
            fail_where_it_was(instance, run, f"The run was lost before it started. {health.msg}")


def fail_where_it_was(instance: dg.DagsterInstance, run: dg.DagsterRun, said: str) -> None:
    """Fail a run, unless it has gone on or ended since it was looked at."""
    now = instance.get_run_by_id(run.run_id)
    if now is not None and now.status == run.status:
        instance.report_run_failed(now, said)
