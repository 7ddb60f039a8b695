"""The report's charts: bars by category, curves, and the distribution of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from patchcore_ops.ranking import evenly_along
from patchcore_ops.report import svg
from patchcore_ops.report.columns import score_text
from patchcore_ops.report.contents import ImageScores
from patchcore_ops.report.svg import Numbers, Scale

_CURVE_POINTS = 240
_BINS = 28
_LONGEST_NAME = 16
_ROW = 22


def metric_bars(
    title: str,
    values: Mapping[str, float],
    published: Mapping[str, float],
    floor: float,
) -> Markup:
    """Draw one bar per category, with the published figure as a tick across it.

    Parameters
    ----------
    title : str
    values, published : mapping of str to float
        Shares from 0 to 1 by category; NaN or absent where undefined.
    floor : float
        Where the axis begins; see `axis_floor`.

    Returns
    -------
    Markup
        An SVG element.
    """
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
    """Return where the axis of bars begins: a multiple of 0.05 somewhat below all values."""
    known = [value for value in values if not math.isnan(value)]
    lowest = min(known, default=0.0)
    return min(max(math.floor((lowest - 0.02) * 20) / 20, 0.0), 0.9)


def curve_chart(
    title: str,
    curve: Mapping[str, Any],
    y_label: str,
    *,
    limit: float | None = None,
) -> Markup:
    """Draw a curve over the false-positive rate.

    Parameters
    ----------
    title : str
    curve : mapping
        `x` and `y`, sequences of float of equal length from 0 to 1, `x` ascending. Long ones are
        thinned out.
    y_label : str
    limit : float or None
        Shade the area up to this false-positive rate; None draws the diagonal of chance instead.
        The axis ends here if the curve does.

    Returns
    -------
    Markup
        An SVG element.
    """
    x, y = _thinned(np.asarray(curve["x"], dtype=float), np.asarray(curve["y"], dtype=float))
    ends_at_limit = limit is not None and x[-1] <= limit + 1e-9
    across = Scale(0, limit if limit and ends_at_limit else 1, 54, 290)
    upward = Scale(0, 1, 214, 10)
    parts = [*_rate_grid(across, upward)]
    if limit is None:
        parts.append(svg.line(across.at(0), upward.at(0), across.at(1), upward.at(1), "chance"))
    else:
        parts += _shaded(across, upward, x, y, limit)
    parts += [
        svg.polyline(across.all(x), upward.all(y), "curve"),
        svg.text(172, 252, "False-positive rate", "label", "middle"),
        svg.upright_text(12, 112, y_label, "label"),
    ]
    return svg.drawing(300, 260, title, f"{y_label} against the false-positive rate.", parts)


def score_histogram(scores: ImageScores, threshold: float) -> Markup | None:
    """Draw how image scores are distributed: good images upwards, defective ones downwards.

    Parameters
    ----------
    scores : ImageScores
    threshold : float
        Marked by a line; NaN for none.

    Returns
    -------
    Markup or None
        An SVG element; None where no score is finite.
    """
    finite = np.isfinite(scores.score)
    if not finite.any():
        return None
    values, is_anomaly = scores.score[finite].astype(float), scores.is_anomaly[finite]
    low, high = _padded(float(values.min()), float(values.max()))
    edges = np.linspace(low, high, _BINS + 1)
    good, _ = np.histogram(values[~is_anomaly], edges)
    defective, _ = np.histogram(values[is_anomaly], edges)
    tallest = int(max(good.max(), defective.max()))
    across, upward = Scale(low, high, 96, 376), Scale(-tallest, tallest, 236, 26)
    parts = [*_count_grid(across, upward, tallest)]
    for at, (above, below) in enumerate(zip(good, defective, strict=True)):
        left, width = across.at(edges[at]) + 0.75, across.at(edges[1]) - across.at(edges[0]) - 1.5
        for count, css, top in ((above, "good", upward.at(above)), (below, "bad", upward.at(0))):
            if count:
                height = abs(upward.at(count) - upward.at(0))
                parts.append(svg.rectangle(left, top, width, height, css))
    parts += [
        svg.line(across.at(low), upward.at(0), across.at(high), upward.at(0), "axis"),
        svg.text(0, upward.at(tallest / 2), "Good", "series good"),
        svg.text(0, upward.at(-tallest / 2), "Defective", "series bad"),
        *_score_axis(across),
        *_threshold_line(across, threshold),
    ]
    description = (
        f"{int((~is_anomaly).sum())} good images above the line, {int(is_anomaly.sum())} defective "
        f"images below it, from {score_text(values.min())} to {score_text(values.max())}."
    )
    return svg.drawing(380, 286, "Image scores", description, parts)


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


def _thinned(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Keep points that are evenly spaced along the curve: bends keep theirs, runs lose them."""
    if len(x) <= _CURVE_POINTS:
        return x, y
    kept = evenly_along(x, y, _CURVE_POINTS)
    return x[kept], y[kept]


def _rate_grid(across: Scale, upward: Scale) -> list[Markup]:
    parts = []
    for tick in svg.round_ticks(across.low, across.high):
        x, css = across.at(tick), "grid" if tick else "axis"
        parts.append(svg.line(x, upward.start, x, upward.end, css))
        parts.append(svg.text(x, upward.start + 17, f"{tick:g}", "tick", "middle"))
    for tick in svg.round_ticks(upward.low, upward.high):
        y, css = upward.at(tick), "grid" if tick else "axis"
        parts.append(svg.line(across.start, y, across.end, y, css))
        parts.append(svg.text(across.start - 6, y + 4, f"{tick:g}", "tick", "end"))
    return parts


def _shaded(across: Scale, upward: Scale, x: Numbers, y: Numbers, limit: float) -> list[Markup]:
    inside = x < limit
    edge_x = np.append(x[inside], limit)
    edge_y = np.append(y[inside], np.interp(limit, x, y))
    area_x = across.all(np.concatenate([[0.0], edge_x, [limit]]))
    area_y = upward.all(np.concatenate([[0.0], edge_y, [0.0]]))
    at = across.at(limit)
    beside, anchor = (at + 5, "start") if at < across.at(across.high) else (at - 5, "end")
    return [
        svg.polygon(area_x, area_y, "area"),
        svg.line(at, upward.at(0), at, upward.at(1), "limit"),
        svg.text(beside, upward.at(0) - 7, f"limit {limit:g}", "tick", anchor),
    ]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.02 * (high - low) or 0.5
    return low - margin, high + margin


def _count_grid(across: Scale, upward: Scale, tallest: int) -> list[Markup]:
    counts = [int(tick) for tick in svg.round_ticks(0, tallest, 4) if tick == int(tick) and tick]
    return [
        part
        for count in counts
        for level in (count, -count)
        for part in (
            svg.line(across.start, upward.at(level), across.end, upward.at(level), "grid"),
            svg.text(across.start - 6, upward.at(level) + 4, str(count), "tick", "end"),
        )
    ]


def _score_axis(across: Scale) -> list[Markup]:
    ticks = [
        svg.text(across.at(tick), 257, f"{tick:g}", "tick", "middle")
        for tick in svg.round_ticks(across.low, across.high)
    ]
    middle = (across.start + across.end) / 2
    return [*ticks, svg.text(middle, 279, "Image score", "label", "middle")]


def _threshold_line(across: Scale, threshold: float) -> list[Markup]:
    if not across.low <= threshold <= across.high:
        return []
    at = across.at(threshold)
    anchor = "end" if at > (across.start + across.end) / 2 else "start"
    return [
        svg.line(at, 18, at, 240, "threshold"),
        svg.text(at, 12, f"threshold at best F1: {score_text(threshold)}", "label", anchor),
    ]
