"""Comparison with the previous wave and with published figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from patchcore_ops.metrics.category import MEAN
from patchcore_ops.report.columns import COLUMN_OF
from patchcore_ops.report.contents import BenchmarkReport


@dataclass(frozen=True, eq=False)
class Baseline:
    """Figures that the report is compared with.

    Attributes
    ----------
    key : "previous" or "published"
    title : str
        As a sentence continues after "compared with".
    values : DataFrame
        One row per category that both sides have, indexed by name; one column per metric.
    """

    key: str
    title: str
    values: pd.DataFrame

    def value(self, category: str, metric: str) -> float:
        """Return the baseline's value; NaN where it has none."""
        if category not in self.values.index or metric not in self.values.columns:
            return math.nan
        return float(self.values[metric][category])

    def mean_difference(self, current: pd.DataFrame, metric: str) -> float:
        """Average the differences over the categories that both sides have.

        The difference of the two means would compare different sets of categories as soon as one
        side lacks some.

        Parameters
        ----------
        current : DataFrame
            Indexed by category.
        metric : str

        Returns
        -------
        float
            NaN where no category can be compared.
        """
        differences = [
            float(current[metric][category]) - self.value(category, metric)
            for category in self.values.index
        ]
        known = [difference for difference in differences if not math.isnan(difference)]
        return sum(known) / len(known) if known else math.nan


def by_category(summary: pd.DataFrame) -> pd.DataFrame:
    """Index a summary by category, without its mean; a category listed twice keeps its last row."""
    rows = summary[summary["category"] != MEAN]
    return rows.drop_duplicates("category", keep="last").set_index("category")


def baselines(report: BenchmarkReport) -> Sequence[Baseline]:
    """Collect what the report can be compared with; baselines without a common figure are left out.

    Thresholds are never compared: a higher one is neither better nor worse.
    """
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
    metrics = [
        name
        for name in table.columns
        if name in current.columns and name in COLUMN_OF and not COLUMN_OF[name].is_threshold
    ]
    categories = [name for name in current.index if name in table.index]
    return table.loc[categories, metrics].astype(float)
