"""The main metrics of every category beside the published figures, as bars and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from patchcore_ops.metrics.category import MEAN
from patchcore_ops.report.baselines import by_category
from patchcore_ops.report.charts.bars import axis_floor, metric_bars
from patchcore_ops.report.columns import CHARTED, COLUMN_OF, Column


class CategoryBars(NamedTuple):
    """One drawing for each metric, and where their common axis begins."""

    floor: float
    drawings: Mapping[str, Markup]


def category_bars(summary: pd.DataFrame, published: pd.DataFrame | None) -> CategoryBars:
    """Draw a bar per category for each main metric, with the published figure as a tick."""
    ours = _columns(summary)
    theirs = {} if published is None else _columns(published)
    floor = axis_floor(
        [
            value
            for metric, values in ours.items()
            for category in values
            for value in (values[category], theirs.get(metric, {}).get(category, math.nan))
        ]
    )
    drawings = {
        metric: metric_bars(
            f"{COLUMN_OF[metric].full_title} by category, in percent",
            values,
            theirs.get(metric, {}),
            floor,
        )
        for metric, values in ours.items()
        if values
    }
    return CategoryBars(floor, drawings)


def beside_published(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the main metrics in percent with the difference, such as `99.21 (−0.79)`.

    The mean is compared only if both tables have the figure of the same categories.
    """
    shown = [COLUMN_OF[name] for name in CHARTED if name in summary.columns]
    theirs = {column.name: _comparable(summary, published, column.name) for column in shown}
    rows = []
    for row in summary.to_dict("records"):
        cells = {
            column.full_title: _compared(
                column,
                float(row[column.name]),
                theirs[column.name].get(row["category"], math.nan),
            )
            for column in shown
        }
        rows.append({"category": row["category"], **cells})
    return pd.DataFrame(rows)


def _columns(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    rows = by_category(table)
    return {
        name: {str(category): float(value) for category, value in rows[name].items()}
        for name in CHARTED
        if name in rows.columns
    }


def _comparable(summary: pd.DataFrame, published: pd.DataFrame, name: str) -> dict[str, float]:
    """Return the published values, without a mean over other categories than ours is over."""
    ours, theirs = (
        {str(category): float(value) for category, value in known.items()}
        for table in (summary, published)
        for known in [table.set_index("category")[name].dropna()]
    )
    if ours.keys() != theirs.keys():
        theirs.pop(MEAN, None)
    return theirs


def _compared(column: Column, ours: float, theirs: float) -> str:
    difference = ours - theirs
    text = column.text(ours)
    return text if math.isnan(difference) else f"{text} ({column.difference_text(difference)})"
