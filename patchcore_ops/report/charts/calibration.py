"""Scores of normal train images beside those of the test images, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from patchcore_ops.report.charts import svg
from patchcore_ops.report.charts.histogram import score_axis, threshold_line
from patchcore_ops.report.charts.svg import Scale, score_text

_BINS = 40
_ROW_HEIGHT, _TOP, _LEFT, _RIGHT = 62, 30, 120, 392


def calibration_chart(
    normal: npt.NDArray[np.floating],
    good: npt.NDArray[np.floating],
    defective: npt.NDArray[np.floating],
    threshold: float | None,
) -> Markup | None:
    """Draw a histogram for each kind of image, one below the other; None without any score."""
    kinds: Mapping[str, tuple[npt.NDArray[np.floating], str]] = {
        "Train, normal": (normal, "good"),
        "Test, good": (good, "good"),
        "Test, defective": (defective, "bad"),
    }
    shown = {name: one for name, one in kinds.items() if len(one[0])}
    if not shown:
        return None
    values = np.concatenate([scores for scores, _ in shown.values()]).astype(float)
    low, high = float(values.min()), float(values.max())
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    margin = 0.02 * (high - low) or 0.5
    across = Scale(low - margin, high + margin, _LEFT, _RIGHT)
    edges = np.linspace(across.low, across.high, _BINS + 1)
    bottom = _TOP + _ROW_HEIGHT * len(shown)
    parts: list[Markup] = []
    for row, (name, (scores, css)) in enumerate(shown.items()):
        base = float(_TOP + _ROW_HEIGHT * (row + 1))
        counts, _ = np.histogram(scores, edges)
        upward = Scale(0, int(counts.max()), base, base - _ROW_HEIGHT + 12)
        for at in np.flatnonzero(counts):
            left, right = across.at(edges[at]), across.at(edges[at + 1])
            top = upward.at(int(counts[at]))
            parts.append(svg.rectangle(left + 0.5, top, right - left - 1, base - top, css))
        parts += [
            svg.line(_LEFT, base, _RIGHT, base, "axis"),
            svg.text(0, base - 18, name, f"series {css}"),
            svg.text(0, base - 3, f"{len(scores):,} images", "tick"),
        ]
    parts += score_axis(across, bottom)
    parts += threshold_line(across, "threshold", threshold, _TOP - 12, bottom)
    description = "; ".join(
        f"{name}: {len(scores)} images from {score_text(scores.min())} to "
        f"{score_text(scores.max())}"
        for name, (scores, _) in shown.items()
    )
    return svg.drawing(416, bottom + 48, "Scores of normal and of test images", description, parts)
