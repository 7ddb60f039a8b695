"""Drawings of less than a kilobyte, for places that show only short content at once.

Dagster's asset page shows markdown in place if it is shorter than 1,000 characters; anything longer
is behind a link. These drawings have whole-number coordinates, few labels and no title, and their
colours are readable on a light and on a dark ground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.metrics.ranking import evenly_along
from patchcore_ops.report.charts.curves import is_drawable
from patchcore_ops.report.charts.histogram import count_scores
from patchcore_ops.report.charts.svg import Numbers, Scale, score_text

_WIDTH, _HEIGHT = 280, 100
_BINS = 35
_POINTS = 24
_BLUE, _ORANGE, _GREY = "#3d83c4", "#cb6a35", "#75808c"


def glance_scores(
    score: npt.NDArray[np.floating], is_anomaly: npt.NDArray[np.bool_], threshold: float
) -> str | None:
    """Draw the scores of good images upwards and of defective ones downwards.

    Parameters
    ----------
    score : ndarray of float, shape [n]
    is_anomaly : ndarray of bool, shape [n]
    threshold : float
        Marked by a line; NaN for none.

    Returns
    -------
    str or None
        An SVG document; None where no score is finite.
    """
    finite = np.isfinite(score)
    if not finite.any():
        return None
    edges, good, defective = count_scores(score[finite].astype(float), is_anomaly[finite], _BINS)
    across = Scale(float(edges[0]), float(edges[-1]), 0, _WIDTH)
    tallest = max(int(good.max()), int(defective.max()))
    parts = [
        _steps(good * (-34 / tallest), 44, _BLUE),
        _steps(defective * (34 / tallest), 44, _ORANGE),
        _path(f"M0 44H{_WIDTH}", _GREY),
        _text(_WIDTH, 11, "good", _BLUE, "end"),
        _text(0, 72, "defective", _ORANGE),
        _text(0, 97, score_text(across.low)),
        _text(_WIDTH, 97, score_text(across.high), anchor="end"),
    ]
    if across.low <= threshold <= across.high:
        at = round(across.at(threshold))
        parts.append(_path(f"M{at} 4V84", _GREY))
        parts.append(_text(min(max(at, 70), 210), 97, score_text(threshold), anchor="middle"))
    return _document(parts)


def glance_curves(result: Mapping[str, Any]) -> str | None:
    """Draw the image ROC curve and the per-region overlap, each with the area under it.

    Parameters
    ----------
    result : mapping
        What `metrics.category_metrics` returns.

    Returns
    -------
    str or None
        An SVG document; None where neither curve is there.
    """
    curves = result.get("curves") or {}
    parts: list[str] = []
    for key, name, metric in (("roc", "image ROC", "instance_auroc"), ("pro", "PRO", "aupro")):
        curve = curves.get(key)
        if curve is None or not is_drawable(curve):
            continue
        left = 148 if parts else 0
        x, y = _thinned(*(np.asarray(curve[axis], dtype=float) for axis in ("x", "y")))
        across = Scale(0, max(float(x[-1]), 1e-9), left, left + 130)
        parts += [
            _path(f"M{left} 4V98H{left + 130}", _GREY),
            _curve(across.all(x), Scale(0, 1, 98, 4).all(y)),
            _text(left + 128, 78, name, anchor="end"),
            _text(left + 128, 92, f"{result[metric]:.4f}", anchor="end"),
        ]
    return _document(parts) if parts else None


def glance_coverage(picks: Sequence[int], radius: Sequence[float]) -> str:
    """Draw the coverage radius against the logarithm of the number of picks.

    Parameters
    ----------
    picks : sequence of int
        Ascending, from 1 on.
    radius : sequence of float
        Same length.

    Returns
    -------
    str
        An SVG document.
    """
    powers = np.log2(np.asarray(picks, dtype=float))
    values = np.asarray(radius, dtype=float)
    powers, values = _thinned(powers, values)
    upward = Scale(0, float(values.max()) or 1.0, 84, 18)
    across = Scale(0, max(float(powers[-1]), 1.0), 0, _WIDTH)
    return _document(
        [
            _path(f"M0 4V84H{_WIDTH}", _GREY),
            _curve(across.all(powers), upward.all(values)),
            _text(6, 12, f"radius {score_text(float(values[0]))}"),
            _text(_WIDTH, upward.at(float(values[-1])) - 8, score_text(values[-1]), anchor="end"),
            _text(0, 97, f"{picks[0]} pick"),
            _text(_WIDTH, 97, f"{picks[-1]} picks", anchor="end"),
        ]
    )


def _thinned(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    if len(x) <= _POINTS:
        return x, y
    kept = evenly_along(x / max(x.max(), 1e-9), y / max(y.max(), 1e-9), _POINTS)
    return x[kept], y[kept]


def _document(parts: Sequence[str]) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' "
        f"font-family='sans-serif' font-size='11' fill='{_GREY}'>{''.join(parts)}</svg>"
    )


def _steps(heights: npt.NDArray[np.floating], base: int, colour: str) -> str:
    """Fill bars of equal width from a base line; neighbours of equal height are one bar."""
    width = _WIDTH // _BINS
    path, before, run = f"M0 {base}", 0, 0
    for height in (*heights.round().astype(int).tolist(), 0):
        if height != before:
            path += (f"h{run}" if run else "") + f"v{height - before}"
            before, run = height, 0
        run += width
    return f"<path fill='{colour}' d='{path}'/>"


def _curve(x: Numbers, y: Numbers) -> str:
    across, down = (values.round().astype(int) for values in (x, y))
    steps = [
        f"{right}{below}" if below.startswith("-") else f"{right} {below}"
        for right, below in zip(np.diff(across).astype(str), np.diff(down).astype(str), strict=True)
        if (right, below) != ("0", "0")
    ]
    path = f"M{across[0]} {down[0]}l{' '.join(steps)}" if steps else f"M{across[0]} {down[0]}h1"
    return f"<path fill='none' stroke='{_BLUE}' stroke-width='2' d='{path}'/>"


def _path(path: str, colour: str) -> str:
    return f"<path fill='none' stroke='{colour}' d='{path}'/>"


def _text(x: float, y: float, content: str, colour: str = "", anchor: str = "") -> str:
    fill = f" fill='{colour}'" if colour else ""
    aligned = f" text-anchor='{anchor}'" if anchor else ""
    return f"<text x='{round(x)}' y='{round(y)}'{fill}{aligned}>{content}</text>"
