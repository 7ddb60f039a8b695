"""Progress lines say how far long work is, and how long it will take by its own pace."""

from __future__ import annotations

import logging
import time

import pytest

from patchcore_assets.step.progress import log_progress


def test_the_pace_is_that_of_the_work_without_what_came_before(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 160.0, 161.0, 165.0, 170.0, 280.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO):
        report = log_progress(logging.getLogger(), "images embedded")
        # A network has been exported for 60 s; then ten images take a second.
        for done in (1, 11, 51, 101, 1201):
            report(done, 1201)
    assert caplog.messages == [
        "1 of 1,201 images embedded (0%), 60 s so far",
        "51 of 1,201 images embedded (4%), 65 s so far, about 115 s to go",
        "101 of 1,201 images embedded (8%), 70 s so far, about 110 s to go",
        "1,201 of 1,201 images embedded (100%), 180 s",
    ]
