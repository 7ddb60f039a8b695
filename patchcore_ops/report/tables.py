"""The report's tables as plain values: the text, order and comparison of each cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from patchcore_ops.metrics.category import MEAN
from patchcore_ops.report.baselines import Baseline, by_category
from patchcore_ops.report.columns import COLUMN_OF, COLUMNS, HEADLINES, Column
from patchcore_ops.report.contents import BenchmarkReport, CategoryReport

_NO_REASON = "not defined"
_DEFECT_REASON = {
    "Image": "there is no good image to compare this defect type with",
    "Pixel": "no image of this defect type has a mask that marks a part of it",
}
_MEAN_REASON = {True: "thresholds are not averaged", False: "no category has a value"}
# With two categories, one is best and one is worst by definition.
_LEAST_ROWS_TO_RANK = 3


class Difference(NamedTuple):
    """How far a value is from a baseline's."""

    baseline: str  # its key
    text: str  # in percentage points
    trend: str  # "up", "down" or "same"
    title: str
    scope: str = ""  # how many of the categories are compared; empty for all


class Cell(NamedTuple):
    """One value in a table."""

    text: str
    sort_value: float | None  # None sorts last in either direction
    reason: str | None = None  # why the value is undefined
    mark: str | None = None  # "best" or "worst"
    differences: Sequence[Difference] = ()


class Row(NamedTuple):
    """One line of a table; `anchor` is the element id that its name links to."""

    name: str
    cells: Sequence[Cell]
    anchor: str | None = None
    images: int | None = None
    remark: str = ""


class Figure(NamedTuple):
    """One key figure with its heading."""

    column: Column
    cell: Cell
    scope: str = ""  # how many of the categories a mean is over; empty for all


@dataclass(frozen=True)
class Table:
    """A table of metrics."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    mean: Row | None = None

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The headings that span several columns, with how many."""
        groups = groupby(self.columns, key=lambda column: column.group)
        return [(group, len(list(members))) for group, members in groups]

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What is undefined and why, for each row: a group of figures, or those that are named."""
        found = []
        for row in self.rows:
            cells = list(zip(self.columns, row.cells, strict=True))
            for group, members in groupby(cells, key=lambda pair: pair[0].group):
                by_reason: dict[str | None, list[str]] = {}
                for column, cell in members:
                    by_reason.setdefault(cell.reason, []).append(column.title)
                for reason, titles in by_reason.items():
                    named = "figures" if len(by_reason) == 1 else "; ".join(titles)
                    if reason is not None:
                        found.append((f"{row.name}, {group.lower()} {named}", reason))
        return found


def summary_table(
    report: BenchmarkReport, compared: Sequence[Baseline], anchors: Mapping[str, str]
) -> Table:
    """Lay out the summary: one row per category, differences and marks, then the mean."""
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
                    marks[column.name].get(category),
                    _differences(current, compared, str(category), column),
                )
                for column in columns
            ],
            anchor=anchors.get(category),
            remark=report.changes.get(str(category), ""),
        )
        for category in current.index
    ]
    return Table(columns, rows, _mean_row(report.summary, columns, compared))


def headline_figures(report: BenchmarkReport, compared: Sequence[Baseline]) -> list[Figure]:
    """Pick the means that head the report."""
    columns = [COLUMN_OF[name] for name in HEADLINES if name in report.summary.columns]
    mean, current = _mean_row(report.summary, columns, compared), by_category(report.summary)
    return [
        Figure(column, cell, _scope(current[column.name]))
        for column, cell in zip(columns, mean.cells, strict=True)
    ]


def key_figures(category: CategoryReport) -> list[tuple[str, list[Figure]]]:
    """Group the metrics of one category into those of images and of pixels."""
    notes = category.metrics.get("notes") or {}
    figures = [
        Figure(
            column,
            _cell(
                column,
                _number(category.metrics.get(column.name)),
                notes.get(column.name, _NO_REASON),
            ),
        )
        for column in COLUMNS
    ]
    groups = groupby(figures, key=lambda figure: figure.column.group)
    return [(group, list(members)) for group, members in groups]


def defect_table(category: CategoryReport) -> Table:
    """Lay out the metrics by defect type, without thresholds."""
    columns = [column for column in COLUMNS if not column.is_threshold]
    # What the category as a whole lacks, each of its defect types does.
    notes = category.metrics.get("notes") or {}
    reasons = [notes.get(column.name, _DEFECT_REASON[column.group]) for column in columns]
    rows = [
        Row(
            str(entry["defect_type"]),
            [
                _cell(column, _number(entry.get(column.name)), reason)
                for column, reason in zip(columns, reasons, strict=True)
            ],
            images=int(entry["images"]),
        )
        for entry in category.metrics.get("per_defect") or ()
    ]
    return Table(columns, rows)


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
    summary: pd.DataFrame, columns: Sequence[Column], compared: Sequence[Baseline]
) -> Row:
    current = by_category(summary)
    means = summary[summary["category"] == MEAN]
    cells = [
        _cell(
            column,
            float(means[column.name].iloc[-1]) if len(means) else math.nan,
            _MEAN_REASON[column.is_threshold],
            differences=_mean_differences(current, compared, column),
        )
        for column in columns
    ]
    return Row(MEAN, cells)


def _differences(
    current: pd.DataFrame, compared: Sequence[Baseline], category: str, column: Column
) -> list[Difference]:
    value = float(current[column.name][category])
    return [
        _difference(baseline, column, value - before, column.text(before))
        for baseline in compared
        for before in [baseline.value(category, column.name)]
        if not math.isnan(value - before)
    ]


def _mean_differences(
    current: pd.DataFrame, compared: Sequence[Baseline], column: Column
) -> list[Difference]:
    found = []
    for baseline in compared:
        differences = baseline.differences(current, column.name)
        if len(differences):
            scope = _scope(differences.reindex(current.index))
            detail = f"over {scope or 'all'} categories"
            mean = float(differences.mean())
            found.append(_difference(baseline, column, mean, detail, scope))
    return found


def _scope(values: pd.Series[float]) -> str:
    """Say how many of the categories have a value; empty if all or none."""
    known = int(values.notna().sum())
    return f"{known} of {len(values)}" if 0 < known < len(values) else ""


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
