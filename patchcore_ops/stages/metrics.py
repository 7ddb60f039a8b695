"""The stage `metrics`: the table of all categories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from patchcore_ops.metrics.category import summary_table
from patchcore_ops.stages.layout import METRICS_CSV, METRICS_PARQUET


def tabulate(by_category: Mapping[str, Mapping[str, Any]], folder: Path) -> pd.DataFrame:
    """Write the table of all categories, as `metrics.csv` and `metrics.parquet`."""
    table = summary_table(by_category)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / METRICS_CSV, index=False, lineterminator="\n")
    table.to_parquet(folder / METRICS_PARQUET, index=False)
    return table
