"""The report's tables as plain values: what each cell says, how it sorts, what it differs from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from patchcore_ops.metrics.category import MEAN
from patchcore_ops.report.baselines import Baseline, by_category
from patchcore_ops.report.columns import COLUMN_OF, COLUMNS, HEADLINES, Column
from patchcore_ops.report.contents import BenchmarkReport, CategoryReport

_NO_REASON = "not defined"
_DEFECT_REASON = {
    "Image": "there is no good image to compare this defect type with",
    "Pixel": "no image of this defect type has a ground-truth mask",
}
_MEAN_REASON = {True: "thresholds are not averaged", False: "no category has a value"}
# With two categories, one is best and one is worst by definition.
_LEAST_ROWS_TO_RANK = 3


@dataclass(frozen=True)
class Difference:
    """How far a value is from a baseline's.

    Attributes
    ----------
    baseline : str
        Its key.
    text : str
        In percentage points.
    trend : "up", "down" or "same"
    title : str
        The comparison in words.
    scope : str
        What part of the categories it is over; empty for all.
    """

    baseline: str
    text: str
    trend: str
    title: str
    scope: str = ""


@dataclass(frozen=True)
class Cell:
    """One value in a table.

    Attributes
    ----------
    text : str
    sort_value : float or None
        None sorts last in either direction.
    reason : str or None
        Why the value is undefined.
    mark : "best", "worst" or None
    differences : sequence of Difference
    """

    text: str
    sort_value: float | None
    reason: str | None = None
    mark: str | None = None
    differences: Sequence[Difference] = ()


@dataclass(frozen=True)
class Row:
    """One line of a table: its heading, a link target, the cells, and what marks it."""

    name: str
    cells: Sequence[Cell]
    anchor: str | None = None
    images: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class Table:
    """A table of metrics.

    Attributes
    ----------
    columns : sequence of Column
    groups : sequence of (str, int)
        Headings that span several columns, with how many.
    rows : sequence of Row
    mean : Row or None
    notes : sequence of (str, str)
        Whose value is undefined, and why.
    """

    columns: Sequence[Column]
    groups: Sequence[tuple[str, int]]
    rows: Sequence[Row]
    mean: Row | None = None
    notes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Figure:
    """One key figure with its heading."""

    column: Column
    cell: Cell


def summary_table(
    report: BenchmarkReport, compared: Sequence[Baseline], anchors: Mapping[str, str]
) -> Table:
    """Lay out the summary: one row per category, differences and marks, then the mean.

    Parameters
    ----------
    report : BenchmarkReport
    compared : sequence of Baseline
    anchors : mapping of str to str
        Element ids of the categories that have a section.
    """
    current = by_category(report.summary)
    columns = [column for column in COLUMNS if column.name in current.columns]
    reasons = {category.name: category.metrics.get("notes") or {} for category in report.categories}
    marks = {column.name: _marks(current[column.name], column) for column in columns}
    rows = [
        Row(
            str(category),
            [
                _cell(
                    column,
                    float(current[column.name][category]),
                    reasons.get(category, {}).get(column.name, _NO_REASON),
                    mark=marks[column.name].get(category),
                    differences=_differences(current, compared, str(category), column),
                )
                for column in columns
            ],
            anchor=anchors.get(category),
            remark=report.changes.get(str(category), ""),
        )
        for category in current.index
    ]
    return Table(
        columns,
        _groups(columns),
        rows,
        mean=_mean_row(report.summary, current, columns, compared),
        notes=_notes(rows, columns),
    )


def headline_figures(report: BenchmarkReport, compared: Sequence[Baseline]) -> Sequence[Figure]:
    """Pick the means that head the report."""
    current = by_category(report.summary)
    columns = [COLUMN_OF[name] for name in HEADLINES if name in current.columns]
    mean = _mean_row(report.summary, current, columns, compared)
    return [Figure(column, cell) for column, cell in zip(columns, mean.cells, strict=True)]


def key_figures(category: CategoryReport) -> Sequence[tuple[str, Sequence[Figure]]]:
    """Group the metrics of one category by what they judge."""
    notes = category.metrics.get("notes") or {}
    figures = [
        Figure(column, _cell(column, value, notes.get(column.name, _NO_REASON)))
        for column in COLUMNS
        for value in [_number(category.metrics.get(column.name))]
    ]
    return [
        (group, list(members))
        for group, members in groupby(figures, key=lambda figure: figure.column.group)
    ]


def defect_table(category: CategoryReport) -> Table:
    """Lay out the breakdown by defect type; thresholds are left out."""
    columns = [column for column in COLUMNS if not column.is_threshold]
    rows = [
        Row(
            str(entry["defect_type"]),
            [
                _cell(column, _number(entry.get(column.name)), _DEFECT_REASON[column.group])
                for column in columns
            ],
            images=int(entry["images"]),
        )
        for entry in category.metrics.get("per_defect") or ()
    ]
    return Table(columns, _groups(columns), rows, notes=_notes(rows, columns))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _cell(
    column: Column,
    value: float,
    reason: str,
    mark: str | None = None,
    differences: Sequence[Difference] = (),
) -> Cell:
    if math.isnan(value):
        return Cell(column.text(value), None, reason=reason)
    return Cell(column.text(value), value, mark=mark, differences=differences)


def _mean_row(
    summary: pd.DataFrame,
    current: pd.DataFrame,
    columns: Sequence[Column],
    compared: Sequence[Baseline],
) -> Row:
    means = summary[summary["category"] == MEAN]
    return Row(
        MEAN,
        [
            _cell(
                column,
                float(means[column.name].iloc[-1]) if len(means) else math.nan,
                _MEAN_REASON[column.is_threshold],
                differences=_mean_differences(current, compared, column),
            )
            for column in columns
        ],
    )


def _differences(
    current: pd.DataFrame, compared: Sequence[Baseline], category: str, column: Column
) -> Sequence[Difference]:
    value = float(current[column.name][category])
    return [
        _difference(baseline, column, value - before, column.text(before))
        for baseline in compared
        for before in [baseline.value(category, column.name)]
        if not math.isnan(value - before)
    ]


def _mean_differences(
    current: pd.DataFrame, compared: Sequence[Baseline], column: Column
) -> Sequence[Difference]:
    return [
        _difference(baseline, column, difference, f"over {scope or 'all'} categories", scope)
        for baseline in compared
        for difference in [baseline.mean_difference(current, column.name)]
        for shared in [len(baseline.values)]
        for scope in ["" if shared == len(current) else f"{shared} of {len(current)}"]
        if not math.isnan(difference)
    ]


def _difference(
    baseline: Baseline, column: Column, difference: float, detail: str, scope: str = ""
) -> Difference:
    points = round(100 * difference, 2)
    return Difference(
        baseline.key,
        column.difference_text(difference),
        "up" if points > 0 else "down" if points < 0 else "same",
        f"compared with {baseline.title} ({detail})",
        scope,
    )


def _marks(values: pd.Series[float], column: Column) -> dict[Any, str]:
    known = values.dropna().astype(float).round(4)
    if column.is_threshold or len(known) < _LEAST_ROWS_TO_RANK or known.min() == known.max():
        return {}
    best = dict.fromkeys(known.index[known == known.max()], "best")
    worst = dict.fromkeys(known.index[known == known.min()], "worst")
    return {**best, **worst}


def _groups(columns: Sequence[Column]) -> Sequence[tuple[str, int]]:
    return [
        (group, len(list(members)))
        for group, members in groupby(columns, key=lambda column: column.group)
    ]


def _notes(rows: Sequence[Row], columns: Sequence[Column]) -> Sequence[tuple[str, str]]:
    """Say once per row and reason what is undefined."""
    reasons = [
        (f"{row.name}, {group.lower()} figures", cell.reason)
        for row in rows
        for group, cell in zip((column.group for column in columns), row.cells, strict=True)
        if cell.reason is not None
    ]
    return list(dict.fromkeys(reasons))
