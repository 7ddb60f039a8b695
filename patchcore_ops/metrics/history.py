"""The history of the table: what each wave of benchmarking measured, one block of rows a wave."""

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
    """Make the block of rows that says what a wave has measured.

    Parameters
    ----------
    summary : DataFrame
        The table of the wave, as `patchcore_ops.metrics.category.summary_table` gives it.
    wave : str
        The name of the wave.
    finished : datetime
        When the table was made, with its time zone.
    run_id : str
        The run that made it.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, without the row of means.
    """
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
    """Add what waves have measured to the history; of a wave that was measured again the last.

    Parameters
    ----------
    history : DataFrame or None
        The history so far, as this function gave it; None or an empty one if there is none.
    blocks : sequence of DataFrame
        Blocks of waves, which the history may hold already.
    latest : DataFrame
        The block of the wave that the history is to end with.
    kept_waves : int
        How many waves are kept at most; the oldest are dropped.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`; the blocks in the order in which the waves were last measured. Metrics
        that an older version did not know are NaN there.
    """
    known = [] if history is None else [block for _, block in history.groupby(WAVE, sort=False)]
    by_wave: dict[str, pd.DataFrame] = {}
    for block in (*known, *blocks):
        wave = block[WAVE].iloc[0]
        if wave not in by_wave or _finished(block) >= _finished(by_wave[wave]):
            by_wave[wave] = block
    by_wave.pop(latest[WAVE].iloc[0], None)
    ordered = [*sorted(by_wave.values(), key=_finished), latest][-kept_waves:]
    every = pd.concat([block.reindex(columns=COLUMNS) for block in ordered], ignore_index=True)
    every[list(METRICS)] = every[list(METRICS)].astype(float)
    return every


def _finished(block: pd.DataFrame) -> pd.Timestamp:
    return pd.Timestamp(block[FINISHED].iloc[0])


def previous_wave(history: pd.DataFrame) -> pd.DataFrame | None:
    """Return the table of the wave before the latest one.

    Parameters
    ----------
    history : DataFrame
        As `add_up` gives it, `history.parquet` of the artefact `metrics`.

    Returns
    -------
    DataFrame or None
        In the form of `patchcore_ops.metrics.category.summary_table`: column `category`, then `METRICS`, the
        last row `Mean`. None if there is only one wave.
    """
    waves = history[WAVE].unique()
    if len(waves) < 2:
        return None
    rows = history[history[WAVE] == waves[-2]]
    return with_mean(rows[["category", *METRICS]].reset_index(drop=True))
