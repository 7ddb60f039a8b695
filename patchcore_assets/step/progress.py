"""Progress lines of long work in the run's log."""

from __future__ import annotations

import logging
import time

from patchcore_ops.runtime.progress import Progress

_SECONDS_BETWEEN_LINES = 5.0


def log_progress(log: logging.Logger, what: str) -> Progress:
    """Return a callback that logs how far the work is and how long it will still take."""
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        remaining = (now - start) / done * (total - done) if done else 0.0
        log.info(
            f"{done:,} of {total:,} {what} ({done / max(total, 1):.0%}), "
            f"{now - start:.0f} s so far, about {remaining:.0f} s to go"
        )

    return report
