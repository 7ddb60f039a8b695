"""The history of the table: what each wave of benchmarking measured, one block of rows a wave."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

from patchcore_ops.metrics import MEAN, METRICS, with_mean

WAVE = "wave"
FINISHED = "finished"
RUN_ID = "run_id"
COLUMNS = (WAVE, FINISHED, RUN_ID, "category", *METRICS)
# Fifteen categories over four years of weekly waves are 3,000 rows, or 150 kB.
KEPT_WAVES = 200


def append_wave(
    history: pd.DataFrame | None,
    summary: pd.DataFrame,
    wave: str,
    finished: datetime,
    run_id: str,
    kept_waves: int = KEPT_WAVES,
) -> pd.DataFrame:
    """Add what a wave measured to the history; a wave that is there already is replaced.

    Parameters
    ----------
    history : DataFrame or None
        The history so far, as this function gave it; None or an empty one if there is none.
    summary : DataFrame
        The table of the wave, as `patchcore_ops.metrics.summary_table` gives it.
    wave : str
        The name of the wave.
    finished : datetime
        When the table was made, with its time zone.
    run_id : str
        The run that made it.
    kept_waves : int
        How many waves are kept at most; the oldest are dropped.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, without the rows of means; the blocks in the order in which the waves
        were last measured. Metrics that an older version did not know are NaN there.
    """
    block = summary[summary["category"] != MEAN].reindex(columns=COLUMNS)
    block[WAVE] = wave
    block[FINISHED] = pd.Timestamp(finished.astimezone(UTC))
    block[RUN_ID] = run_id
    blocks = [block]
    if history is not None and len(history):
        blocks.insert(0, history[history[WAVE] != wave].reindex(columns=COLUMNS))
    every = pd.concat([one for one in blocks if len(one)], ignore_index=True)
    every[list(METRICS)] = every[list(METRICS)].astype(float)
    kept = every[WAVE].unique()[-kept_waves:]
    return every[every[WAVE].isin(kept)].reset_index(drop=True)


def previous_wave(history: pd.DataFrame) -> pd.DataFrame | None:
    """Return the table of the wave before the latest one.

    Parameters
    ----------
    history : DataFrame
        As `append_wave` gives it, `history.parquet` of the artefact `metrics`.

    Returns
    -------
    DataFrame or None
        In the form of `patchcore_ops.metrics.summary_table`: column `category`, then `METRICS`, the
        last row `Mean`. None if there is only one wave.
    """
    waves = history[WAVE].unique()
    if len(waves) < 2:
        return None
    rows = history[history[WAVE] == waves[-2]]
    return with_mean(rows[["category", *METRICS]].reset_index(drop=True))
