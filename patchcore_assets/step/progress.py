"""Progress lines of long work in the run's log."""

from __future__ import annotations

import logging
import time

from patchcore_ops.runtime.progress import Progress

_SECONDS_BETWEEN_LINES = 5.0


def log_progress(log: logging.Logger, what: str) -> Progress:
    """Return a callback that logs how far the work is and how long it will still take.

    What passes before its first call, such as the export of a network, tells nothing of the pace.
    """
    start = last = time.monotonic()
    first: tuple[float, int] | None = None

    def report(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        began, done_then = first = first or (now, done)
        if done < total and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        line = f"{done:,} of {total:,} {what} ({done / max(total, 1):.0%}), {now - start:.0f} s"
        if done < total:
            line += " so far"
        if done_then < done < total:
            remaining = (now - began) / (done - done_then) * (total - done)
            line += f", about {remaining:.0f} s to go"
        log.info(line)

    return report
