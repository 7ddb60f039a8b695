"""What is kept of a day's inspections: a table with a row for each image, and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

TABLE = "inspections.parquet"
TABLE_CSV = "inspections.csv"
SUMMARY = "summary.json"
HEAT_MAPS = "heat_maps"
TYPES = {
    "path": "string",
    "score": "float64",
    "p_value": "float64",
    "is_anomaly": "boolean",
    "probability": "float64",
    "regions": "string",
    "reason": "string",
    "arrived": "string",
    "bytes": "int64",
    "modified_ns": "int64",
    "heat_map": "string",
    "model_version": "string",
}
IDENTITY = ["path", "bytes", "modified_ns"]


class Figures(NamedTuple):
    """The figures of a day; what a model without calibration cannot tell is None."""

    images: int
    rejects: int | None
    unreadable: int
    median_p_value: float | None


def figures_of(table: pd.DataFrame, *, is_calibrated: bool) -> Figures:
    """Count a day's images."""
    p_values = table["p_value"].dropna()
    return Figures(
        len(table),
        int(table["is_anomaly"].fillna(False).sum()) if is_calibrated else None,
        int(table["reason"].notna().sum()),
        float(p_values.median()) if len(p_values) else None,
    )


def read_day(folder: Path) -> pd.DataFrame:
    """Read the table of a day."""
    return pd.read_parquet(folder / TABLE).astype(TYPES)


def write_day(table: pd.DataFrame, figures: Figures, folder: Path) -> None:
    """Write table, CSV and figures of a day."""
    table.to_parquet(folder / TABLE, index=False)
    table.to_csv(folder / TABLE_CSV, index=False)
    (folder / SUMMARY).write_text(json.dumps(figures._asdict(), indent=2) + "\n", encoding="utf-8")


def read_figures(folder: Path) -> Figures:
    """Read the figures of a day."""
    return Figures(**json.loads((folder / SUMMARY).read_text(encoding="utf-8")))


def day_table(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join rows of a day in the order of arrival."""
    typed = [part.astype(TYPES) for part in (*parts, pd.DataFrame(columns=list(TYPES)))]
    rows = pd.concat([part for part in typed if len(part)] or typed[-1:])
    return rows.sort_values(["modified_ns", "path"], ignore_index=True)
