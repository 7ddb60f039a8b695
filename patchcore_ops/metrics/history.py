"""The history of the benchmark's table: one block of rows for each wave (one run of all)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from patchcore_ops.metrics.category import MEAN, METRICS, with_mean

WAVE = "wave"
FINISHED = "finished"
RUN_ID = "run_id"
COLUMNS = (WAVE, FINISHED, RUN_ID, "category", *METRICS)
# Fifteen categories over four years of weekly waves are 3,000 rows, or 150 kB.
KEPT_WAVES = 200


def block_of_wave(
    summary: pd.DataFrame, wave: str, finished: datetime, run_id: str
) -> pd.DataFrame:
    """Turn a wave's summary table into its block of the history, without the row of means."""
    block = summary[summary["category"] != MEAN].reindex(columns=COLUMNS)
    block[WAVE] = wave
    block[FINISHED] = pd.Timestamp(finished.astimezone(UTC))
    block[RUN_ID] = run_id
    return block.reset_index(drop=True)


def add_up(
    history: pd.DataFrame | None,
    blocks: Sequence[pd.DataFrame],
    latest: pd.DataFrame,
    kept_waves: int = KEPT_WAVES,
) -> pd.DataFrame:
    """Merge blocks into the history, each after what finished before it, `latest` at the end.

    What the history holds stays in its order, for a clock may have been wrong. The last block of a
    repeated wave counts; the oldest waves beyond `kept_waves` are dropped. Metrics that an older
    release did not have are NaN.
    """
    ordered = [] if history is None else [block for _, block in history.groupby(WAVE, sort=False)]
    for block in sorted(blocks, key=_finished):
        others = [one for one in ordered if _wave(one) != _wave(block)]
        if any(_wave(one) == _wave(block) and _finished(one) > _finished(block) for one in ordered):
            continue
        earlier = [at for at, one in enumerate(others, 1) if _finished(one) <= _finished(block)]
        others.insert(max(earlier, default=0), block)
        ordered = others
    ordered = [*(one for one in ordered if _wave(one) != _wave(latest)), latest][-kept_waves:]
    every = pd.concat([block.reindex(columns=COLUMNS) for block in ordered], ignore_index=True)
    every[list(METRICS)] = every[list(METRICS)].astype(float)
    return every


def _wave(block: pd.DataFrame) -> str:
    return str(block[WAVE].iloc[0])


def _finished(block: pd.DataFrame) -> pd.Timestamp:
    return pd.Timestamp(block[FINISHED].iloc[0])


def previous_wave(history: pd.DataFrame) -> pd.DataFrame | None:
    """Return the summary table of the wave before the latest, None if there is only one."""
    waves = history[WAVE].unique()
    if len(waves) < 2:
        return None
    rows = history[history[WAVE] == waves[-2]]
    return with_mean(rows[["category", *METRICS]].reset_index(drop=True))
