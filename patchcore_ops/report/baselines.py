"""Comparison with the previous wave and with published figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from patchcore_ops.metrics.category import MEAN
from patchcore_ops.report.columns import COLUMN_OF
from patchcore_ops.report.contents import BenchmarkReport


@dataclass(frozen=True, eq=False)
class Baseline:
    """Figures that the report is compared with."""

    key: str  # "previous" or "published"
    title: str  # continues "compared with"
    values: pd.DataFrame  # metrics of the categories that both have, indexed by category

    def value(self, category: str, metric: str) -> float:
        """Return the baseline's value; NaN where it has none."""
        if category not in self.values.index or metric not in self.values.columns:
            return math.nan
        return float(self.values[metric][category])

    def differences(self, current: pd.DataFrame, metric: str) -> pd.Series[float]:
        """Return the differences of the categories of which both have the figure.

        Their mean is compared; the difference of the two means would be over different categories.
        """
        if metric not in self.values.columns:
            return pd.Series(dtype=float)
        return (current[metric] - self.values[metric]).dropna()


def by_category(summary: pd.DataFrame) -> pd.DataFrame:
    """Index a summary by category, without its mean; a category listed twice keeps its last row."""
    rows = summary[summary["category"] != MEAN]
    return rows.drop_duplicates("category", keep="last").set_index("category")


def baselines(report: BenchmarkReport) -> list[Baseline]:
    """Collect the baselines that share a figure with the report."""
    current = by_category(report.summary)
    candidates = (
        ("published", "the published figures", report.published),
        ("previous", "the previous wave", report.previous),
    )
    return [
        Baseline(key, title, shared)
        for key, title, table in candidates
        if table is not None
        for shared in [_shared(by_category(table), current)]
        if not shared.empty
    ]


def _shared(table: pd.DataFrame, current: pd.DataFrame) -> pd.DataFrame:
    """Keep what both have; thresholds are left out, for a higher one is not better or worse."""
    metrics = [
        name
        for name in table.columns
        if name in current.columns and name in COLUMN_OF and not COLUMN_OF[name].is_threshold
    ]
    categories = [name for name in current.index if name in table.index]
    return table.loc[categories, metrics].astype(float)
