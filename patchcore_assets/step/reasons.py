"""Why something has failed, in one sentence."""

from __future__ import annotations

import dagster as dg

from patchcore_ops.runtime.errors import UserError


def reason_of(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """Return the step (or job) that failed first in a run, and why."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        step, data = str(event.step_key), event.step_failure_data
        said = data.user_failure_data.description if data.user_failure_data is not None else None
        if sentence := said or _innermost(data.error):
            return step, _complete(sentence)
    for event in result.filter_events(lambda event: event.is_job_failure):
        if sentence := _innermost(event.job_failure_data.error):
            return result.job_def.name, _complete(sentence)
    return result.job_def.name, "see the run's log"


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
