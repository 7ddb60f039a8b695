"""The coverage radius of a memory bank, pick by pick."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from patchcore_ops.report.charts import svg
from patchcore_ops.report.charts.svg import Scale, score_text


def coverage_chart(title: str, picks: Sequence[int], radius: Sequence[float]) -> Markup:
    """Draw the coverage radius against the number of picks (ascending from 1), on a log axis."""
    powers = np.log2(np.asarray(picks, dtype=float))
    values = np.asarray(radius, dtype=float)
    across = Scale(0, max(float(powers[-1]), 1.0), 54, 370)
    upward = Scale(0, 1.05 * float(values.max()) or 1.0, 214, 10)
    shown = range(0, math.floor(across.high) + 1, max(1, math.ceil(across.high / 7)))
    along, down = across.all(powers), upward.all(values)
    parts = [
        *svg.grid(across, upward, {power: str(2**power) for power in shown}),
        svg.polyline(along, down, "curve"),
        svg.text((across.start + across.end) / 2, 252, "Picks", "label", "middle"),
        svg.upright_text(12, 112, "Coverage radius", "label"),
        svg.text(across.end, float(down[-1]) - 14, score_text(float(values[-1])), "label", "end"),
    ]
    spoken = f"From {score_text(values[0])} after {picks[0]} to {score_text(values[-1])} after "
    return svg.drawing(380, 260, title, f"{spoken}{picks[-1]} picks.", parts)
