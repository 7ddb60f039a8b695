"""Rows of predictions as CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchcore_ops.inspection.rows import COLUMNS, Row

if TYPE_CHECKING:
    import pyarrow as pa

CSV = "predictions.csv"
PARQUET = "predictions.parquet"
_NUMBERS = ("score", "p_value", "probability")


def predictions_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table of the columns `COLUMNS`; `regions` are JSON text."""
    import pyarrow as pa

    types = {name: pa.string() for name in COLUMNS}
    types |= dict.fromkeys(_NUMBERS, pa.float64()) | {"is_anomaly": pa.bool_()}
    flat = [_flat(row) for row in rows]
    return pa.table(
        {name: pa.array([row[name] for row in flat], kind) for name, kind in types.items()}
    )


def predictions_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV, with the same columns; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return text.getvalue()


def write_tables(rows: Sequence[Row], folder: Path) -> None:
    """Write `predictions.csv` and `predictions.parquet`, each whole or not at all."""
    import pyarrow.parquet as pq

    for name in (CSV, PARQUET):
        aside = folder / f".{name}.part"
        if name == CSV:
            aside.write_text(predictions_csv(rows), encoding="utf-8")
        else:
            pq.write_table(predictions_table(rows), aside)
        aside.replace(folder / name)


def _flat(row: Row) -> Row:
    regions = row["regions"]
    return {**row, "regions": None if regions is None else json.dumps(regions)}
