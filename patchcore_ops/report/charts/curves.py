"""Curves over the false-positive rate: ROC and per-region overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from patchcore_ops.metrics.ranking import evenly_along
from patchcore_ops.report.charts import svg
from patchcore_ops.report.charts.svg import Numbers, Scale

_CURVE_POINTS = 240


class MetricCurve(NamedTuple):
    """A curve that `metrics.category_metrics` keeps."""

    key: str  # among the curves
    title: str
    metric: str  # the area under it
    y_label: str
    has_limit: bool = False  # the area ends at `metrics.aupro_fpr_limit`


METRIC_CURVES = (
    MetricCurve("roc", "Image ROC", "instance_auroc", "True-positive rate"),
    MetricCurve("pixel_roc", "Pixel ROC", "full_pixel_auroc", "True-positive rate"),
    MetricCurve("pro", "Per-region overlap", "aupro", "Mean overlap", has_limit=True),
)


def metric_curves(
    curves: Mapping[str, Mapping[str, Any] | None] | None, fpr_limit: float
) -> dict[str, Markup | None]:
    """Draw the curves of `METRIC_CURVES` by title, None without finite points."""
    return {
        kind.title: curve_chart(
            kind.title, curve, kind.y_label, limit=fpr_limit if kind.has_limit else None
        )
        if curve is not None and _is_drawable(curve)
        else None
        for kind in METRIC_CURVES
        for curve in [(curves or {}).get(kind.key)]
    }


def _is_drawable(curve: Mapping[str, Any]) -> bool:
    """Say whether a curve has points, all of them finite."""
    return len(curve["x"]) > 0 and bool(np.isfinite([curve["x"], curve["y"]]).all())


def curve_chart(
    title: str, curve: Mapping[str, Any], y_label: str, *, limit: float | None = None
) -> Markup:
    """Draw a curve, `x` ascending and `y`, both from 0 to 1, over the false-positive rate.

    The area up to `limit` is shaded; without a limit the diagonal of chance is drawn. The axis ends
    at the limit if the curve does.
    """
    x, y = _thinned(np.asarray(curve["x"], dtype=float), np.asarray(curve["y"], dtype=float))
    ends_at_limit = limit is not None and x[-1] <= limit + 1e-9
    across = Scale(0, limit if limit and ends_at_limit else 1, 54, 290)
    upward = Scale(0, 1, 214, 10)
    ticks = svg.round_ticks(across.low, across.high)
    parts = svg.grid(across, upward, {tick: f"{tick:g}" for tick in ticks})
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


def _thinned(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    if len(x) <= _CURVE_POINTS:
        return x, y
    kept = evenly_along(x, y, _CURVE_POINTS)
    return x[kept], y[kept]


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
