"""Started runs whose process is no more.

Dagster asks a launcher for the health of a run's process. The default launcher does not know, and
no launcher has started a run of `patchcore benchmark`: killed, or lost with the machine, these
would be at work for ever, and keep their pool and their category.
"""

from __future__ import annotations

import logging

import dagster as dg

from patchcore_assets.automation.lost_launches import fail_where_it_was
from patchcore_assets.executor import PROCESS
from patchcore_ops.runtime.process_identity import ProcessIdentity

_AT_WORK = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_dead_runs(instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """Fail the runs at work of which this machine can tell that their process has ended.

    A launcher that knows of its processes is left to Dagster.
    """
    try:
        if instance.run_launcher.supports_check_run_worker_health:
            return
    except Exception:  # Only the daemon has what the launcher needs.
        return
    for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK)):
        process = ProcessIdentity.read(run.tags.get(PROCESS, ""))
        if process is not None and process.has_ended():
            said = f"Its process ({process.pid}) was killed, or its machine went down."
            log.warning(f"run {run.run_id}: {said}")
            fail_where_it_was(instance, run, said)
