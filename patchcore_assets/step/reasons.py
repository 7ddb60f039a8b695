"""Why something has failed, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from patchcore_ops.runtime.errors import UserError

_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


def reason_of(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """Return the step (or job) that failed first in a run, and why."""
    return _reason(result.all_events, result.job_def.name)


def reason_in_log(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, str]:
    """Return the same of a run of any process, from its log."""
    entries = instance.all_logs(run.run_id, of_type=_FAILURES)
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    return _reason(events, run.job_name)


def _reason(events: Sequence[dg.DagsterEvent], job: str) -> tuple[str, str]:
    for event in (event for event in events if event.is_step_failure):
        step, data = str(event.step_key), event.step_failure_data
        said = data.user_failure_data.description if data.user_failure_data is not None else None
        if sentence := said or _innermost(data.error):
            return step, _complete(sentence)
    for event in (event for event in events if event.is_job_failure):
        if sentence := _innermost(event.job_failure_data.error) or str(event.message or ""):
            return job, _complete(sentence)
    return job, "see the run's log"


def succeeded(result: dg.ExecuteInProcessResult, step: str) -> bool:
    """Tell whether a step ended without a failure."""
    return any(event.is_step_success and event.step_key == step for event in result.all_events)


def plain_reason(error: BaseException) -> str:
    """Say in one line why something failed: a mistake's sentence, or the kind of a raw error."""
    said = " ".join(str(error).split())
    if not isinstance(error, UserError):
        said = f"{type(error).__name__}: {said}"
    return _complete(said)


def _innermost(error: object) -> str:
    """Return type and message, on one line, of the exception at the root of all others."""
    while cause := getattr(error, "cause", None):
        error = cause
    return " ".join(str(getattr(error, "message", "")).split())


def _complete(sentence: str) -> str:
    """Strip a trailing colon, with which an exception without a message ends."""
    return sentence.strip().rstrip(": ")
