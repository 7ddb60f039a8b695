"""The main metrics of every category beside the published figures, as bars and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from patchcore_ops.metrics.category import MEAN
from patchcore_ops.report.baselines import by_category
from patchcore_ops.report.charts.bars import axis_floor, metric_bars
from patchcore_ops.report.columns import CHARTED, COLUMN_OF, Column


@dataclass(frozen=True)
class CategoryBars:
    """One drawing per metric, all on one axis.

    Attributes
    ----------
    floor : float
        Where the axis begins.
    drawings : mapping of str to Markup
        By the metric's key.
    """

    floor: float
    drawings: Mapping[str, Markup]


def category_bars(summary: pd.DataFrame, published: pd.DataFrame | None) -> CategoryBars:
    """Draw a bar per category for each main metric, with the published figure as a tick across it.

    Parameters
    ----------
    summary : DataFrame
        From `metrics.summary_table`.
    published : DataFrame or None
        See `published.published_baseline`; categories and metrics that it lacks have no tick.
    """
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
    return CategoryBars(
        floor,
        {
            metric: metric_bars(
                f"{COLUMN_OF[metric].full_title} by category, in percent",
                values,
                theirs.get(metric, {}),
                floor,
            )
            for metric, values in ours.items()
            if values
        },
    )


def beside_published(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the main metrics in percent, each with its difference to the published figure.

    Parameters
    ----------
    summary, published : DataFrame
        See `category_bars`.

    Returns
    -------
    DataFrame
        Column `category`, then one column of text per metric, such as `99.21 (−0.79)`. The last row
        is the mean, compared only where both have the same categories.
    """
    theirs = published.set_index("category")
    shown = [COLUMN_OF[name] for name in CHARTED if name in summary.columns]
    comparable = set(summary["category"]) == set(published["category"])
    return pd.DataFrame(
        [
            {
                "category": row["category"],
                **{
                    column.full_title: _compared(
                        column,
                        float(row[column.name]),
                        float(theirs[column.name].get(row["category"], math.nan))
                        if comparable or row["category"] != MEAN
                        else math.nan,
                    )
                    for column in shown
                },
            }
            for row in summary.to_dict("records")
        ]
    )


def _columns(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    rows = by_category(table)
    return {
        name: {str(category): float(value) for category, value in rows[name].items()}
        for name in CHARTED
        if name in rows.columns
    }


def _compared(column: Column, ours: float, theirs: float) -> str:
    difference = ours - theirs
    text = column.text(ours)
    return text if math.isnan(difference) else f"{text} ({column.difference_text(difference)})"
