"""What the runs of `patchcore benchmark` print: a line an event, and the stack of faults alone."""

from __future__ import annotations

import logging
import sys
from typing import Any

import dagster as dg

RUN_LOG = "run_log"


def run_log() -> dg.LoggerDefinition:
    """Define the logger of these runs."""
    return dg.LoggerDefinition(
        _logger, description="A line an event; mistakes of the user have no stack trace."
    )


def _logger(_context: dg.InitLoggerContext) -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    handler.addFilter(_is_news)
    logger = logging.Logger(RUN_LOG, logging.INFO)
    logger.addHandler(handler)
    return logger


class _OneLine(logging.Formatter):
    """Time, step and message; of a fault its stack too."""

    def format(self, record: logging.LogRecord) -> str:
        said = _of_dagster(record)
        text, event = said["orig_message"], said["dagster_event"]
        if event is not None and event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            text = record.getMessage() if failure is None else failure.description
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        time = self.formatTime(record, "%H:%M:%S")
        return f"{time} {said['step_key'] or said['job_name']}: {level}{text}"


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what repeats the failure of a step: that its run failed, and what is not made."""
    said = _of_dagster(record)
    if (event := said["dagster_event"]) is None:
        return not str(said["orig_message"]).startswith("Dependencies for step ")
    return not event.is_job_failure or event.job_failure_data.first_step_failure_event is None


def _of_dagster(record: logging.LogRecord) -> dict[str, Any]:
    """Return what Dagster says of a record, beside its text."""
    found: dict[str, Any] = record.__dict__["dagster_meta"]
    return found
