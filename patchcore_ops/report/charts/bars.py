"""Bars of one metric by category, against published figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from patchcore_ops.report.charts import svg
from patchcore_ops.report.charts.svg import Scale

_LONGEST_NAME = 16
_ROW = 22


def metric_bars(
    title: str, values: Mapping[str, float], published: Mapping[str, float], floor: float
) -> Markup:
    """Draw a bar for each share, from `floor` to 1, with the published one as a tick across it."""
    top, bottom = 4, 4 + _ROW * len(values)
    axis = Scale(floor, 1.0, 124, 304)
    ticks = svg.round_ticks(floor, 1.0)
    parts = [svg.line(axis.at(tick), top, axis.at(tick), bottom, "grid") for tick in ticks]
    parts += [
        svg.text(axis.at(tick), bottom + 16, f"{100 * tick:.4g}", "tick", "middle")
        for tick in ticks
    ]
    for at, (category, value) in enumerate(values.items()):
        parts += _bar(axis, top + _ROW * at, category, value, published.get(category, math.nan))
    return svg.drawing(360, bottom + 24, title, _spoken(values), parts)


def axis_floor(values: Sequence[float]) -> float:
    """Return where the axis of bars begins: a multiple of 0.05 a little below all values."""
    known = [value for value in values if not math.isnan(value)]
    lowest = min(known, default=0.0)
    return min(max(math.floor((lowest - 0.02) * 20) / 20, 0.0), 0.9)


def _bar(axis: Scale, top: float, category: str, value: float, published: float) -> list[Markup]:
    name = category if len(category) <= _LONGEST_NAME else f"{category[: _LONGEST_NAME - 1]}…"
    baseline = top + 15
    parts = [svg.text(116, baseline, name, "name", "end")]
    if math.isnan(value):
        parts.append(svg.text(axis.start + 4, baseline, "not defined", "tick"))
    else:
        width = max(axis.at(value) - axis.start, 0.0)
        parts.append(svg.rectangle(axis.start, top + 5, width, _ROW - 10, "bar"))
        parts.append(svg.text(358, baseline, f"{100 * value:.2f}", "value", "end"))
    if published >= axis.low:
        at = axis.at(published)
        parts.append(svg.line(at, top + 2, at, top + _ROW - 2, "published halo"))
        parts.append(svg.line(at, top + 2, at, top + _ROW - 2, "published"))
    return parts


def _spoken(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{category} {'not defined' if math.isnan(value) else f'{100 * value:.2f}'}"
        for category, value in values.items()
    )
