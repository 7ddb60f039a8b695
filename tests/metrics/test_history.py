"""The history of the table: blocks by wave, against lists kept by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd

from patchcore_ops.metrics.category import METRICS, summary_table
from patchcore_ops.metrics.history import COLUMNS, add_up, block_of_wave, previous_wave

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def measured(**scores: float) -> pd.DataFrame:
    """Tabulate categories whose metrics are all the same figure."""
    return summary_table({name: dict.fromkeys(METRICS, score) for name, score in scores.items()})


def append_wave(
    history: pd.DataFrame | None, wave: str, run_id: str = "run", **scores: float
) -> pd.DataFrame:
    return add_up(history, [], block_of_wave(measured(**scores), wave, NOON, run_id))


def rows(history: pd.DataFrame) -> list[tuple[str, str, float]]:
    return list(
        history[["wave", "category", "aupro"]].itertuples(index=False, name=None)  # type: ignore
    )


def test_waves_follow_each_other_and_a_repeated_one_replaces_its_block(tmp_path: Path) -> None:
    history = append_wave(None, "w1", "run 1", bottle=0.1, screw=0.2)
    assert tuple(history.columns) == COLUMNS
    history.to_parquet(tmp_path / "history.parquet", index=False)
    history = append_wave(pd.read_parquet(tmp_path / "history.parquet"), "w2", "run 2", bottle=0.3)
    assert rows(history) == [("w1", "bottle", 0.1), ("w1", "screw", 0.2), ("w2", "bottle", 0.3)]
    history = append_wave(history, "w2", "run 3", bottle=0.4, screw=0.5)
    assert rows(history)[2:] == [("w2", "bottle", 0.4), ("w2", "screw", 0.5)]
    assert list(history["run_id"]) == ["run 1", "run 1", "run 3", "run 3"]


def test_times_are_kept_in_utc() -> None:
    berlin = NOON.astimezone(timezone(timedelta(hours=1)))
    block = block_of_wave(measured(bottle=0.5), "w1", berlin, "run")
    assert str(block["finished"][0]) == "2026-03-01 12:00:00+00:00"


def test_the_wave_before_has_the_form_of_the_table() -> None:
    history = append_wave(None, "w1", bottle=0.1, screw=0.3)
    assert previous_wave(history) is None
    previous = previous_wave(append_wave(history, "w2", bottle=0.2))
    assert previous is not None
    pd.testing.assert_frame_equal(previous, measured(bottle=0.1, screw=0.3))


def test_undefined_metrics_and_unknown_columns_survive() -> None:
    history = append_wave(None, "w1", bottle=np.nan)
    older = history.drop(columns="pixel_ap").assign(forgotten=1)
    history = append_wave(older, "w2", bottle=0.25)
    assert tuple(history.columns) == COLUMNS
    assert history["aupro"].isna().tolist() == [True, False]
    assert history["pixel_ap"].isna().tolist() == [True, False]
    assert all(history[name].dtype == np.float64 for name in METRICS)


def test_blocks_of_others_are_added_by_time_and_the_oldest_dropped() -> None:
    def block(number: int, minutes: int, wave: str = "") -> pd.DataFrame:
        finished = NOON + timedelta(minutes=minutes)
        table = measured(bottle=number / 10)
        return block_of_wave(table, wave or f"w{number}", finished, f"run {number}")

    history = add_up(None, [block(3, minutes=3)], block(1, minutes=1))
    # A history ends with the wave that it was made for, so that the one before is the one before.
    assert rows(history) == [("w3", "bottle", 0.3), ("w1", "bottle", 0.1)]
    others = [block(2, minutes=2), block(5, minutes=3, wave="w3"), block(9, minutes=0, wave="w3")]
    history = add_up(history, others, block(4, minutes=4))
    figures = {"w1": 0.1, "w2": 0.2, "w3": 0.5, "w4": 0.4}
    assert rows(history) == [(wave, "bottle", figure) for wave, figure in figures.items()]
    history = add_up(history, [block(8, minutes=8, wave="w1")], block(9, minutes=9), kept_waves=3)
    assert rows(history) == [("w4", "bottle", 0.4), ("w1", "bottle", 0.8), ("w9", "bottle", 0.9)]


def test_the_wave_before_is_the_one_before_though_the_clock_was_ahead_once() -> None:
    history = None
    for wave, days in (("w1", 0), ("ahead", 300), ("w2", 1), ("w3", 2)):
        finished = NOON + timedelta(days=days)
        block = block_of_wave(measured(bottle=days / 1000), wave, finished, f"run of {wave}")
        history = add_up(history, [], block)
    assert history is not None
    assert list(history["wave"]) == ["w1", "ahead", "w2", "w3"]
    previous = previous_wave(history)
    assert previous is not None
    pd.testing.assert_frame_equal(previous, measured(bottle=0.001))
