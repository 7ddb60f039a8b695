"""The days on which images arrive."""

from __future__ import annotations

from datetime import UTC

from patchcore_ops.inspection.arrivals import Arrival, by_day


def test_a_time_that_no_calendar_has_keeps_no_other_file_waiting() -> None:
    seconds = {"a.png": 10**12, "b.png": 1_780_272_000, "c.png": -(10**12)}
    arrivals = [Arrival(name, name, 1, at * 10**9, at) for name, at in seconds.items()]
    days = by_day(arrivals, UTC)
    assert {day: files[0].path for day, files in days.items()} == {
        "9999-12-31": "a.png",
        "2026-06-01": "b.png",
        "0001-01-01": "c.png",
    }
