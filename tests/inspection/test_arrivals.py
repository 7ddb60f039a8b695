"""The days on which images arrive."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path

from patchcore_ops.inspection.arrivals import Arrival, by_day
from patchcore_ops.inspection.inbox import open_inbox


def test_a_time_that_no_calendar_has_keeps_no_other_file_waiting() -> None:
    seconds = {"a.png": 10**12, "b.png": 1_780_272_000, "c.png": -(10**12)}
    arrivals = [Arrival(name, name, 1, at * 10**9, at) for name, at in seconds.items()]
    days = by_day(arrivals, UTC)
    assert {day: files[0].path for day, files in days.items()} == {
        "9999-12-31": "a.png",
        "2026-06-01": "b.png",
        "0001-01-01": "c.png",
    }


def test_folders_that_go_while_they_are_listed_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "bottle"
    folder.mkdir()
    (folder / "a.png").touch()
    others = [folder / f"line {number}" for number in range(20)]

    def come_and_go() -> None:
        for _ in range(400):
            for one in others:
                one.mkdir()
            for one in others:
                one.rmdir()

    inbox = open_inbox(str(tmp_path))
    with ThreadPoolExecutor(1) as executor:
        changing = executor.submit(come_and_go)
        while not changing.done():
            assert [one.path for one in inbox.arrivals("bottle")] == ["a.png"]
