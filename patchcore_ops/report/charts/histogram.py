"""The distribution of image scores, good images against defective ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from patchcore_ops.report.charts import svg
from patchcore_ops.report.charts.svg import Scale, score_text

_BINS = 28


def score_histogram(
    score: npt.NDArray[np.floating], is_anomaly: npt.NDArray[np.bool_], threshold: float
) -> Markup | None:
    """Draw counts of image scores, good upwards, defective downwards; None if none is finite."""
    finite = np.isfinite(score)
    if not finite.any():
        return None
    values, is_anomaly = score[finite].astype(float), is_anomaly[finite]
    low, high = float(values.min()), float(values.max())
    margin = 0.02 * (high - low) or 0.5
    low, high = low - margin, high + margin
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
        *score_axis(across, 239),
        *threshold_line(across, "threshold at best F1", threshold, 18, 240),
    ]
    description = (
        f"{int((~is_anomaly).sum())} good images above the line, {int(is_anomaly.sum())} defective "
        f"images below it, from {score_text(values.min())} to {score_text(values.max())}."
    )
    return svg.drawing(400, 286, "Image scores", description, parts)


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


def score_axis(across: Scale, bottom: float) -> list[Markup]:
    """Label the scores below a drawing."""
    ticks = [
        svg.text(across.at(tick), bottom + 18, f"{tick:g}", "tick", "middle")
        for tick in svg.round_ticks(across.low, across.high)
    ]
    middle = (across.start + across.end) / 2
    return [*ticks, svg.text(middle, bottom + 40, "Image score", "label", "middle")]


def threshold_line(
    across: Scale, name: str, threshold: float | None, top: float, bottom: float
) -> list[Markup]:
    """Draw a threshold with its name above it; nothing if there is none among the scores."""
    if threshold is None or not across.low <= threshold <= across.high:
        return []
    at = across.at(threshold)
    anchor = "end" if at > (across.start + across.end) / 2 else "start"
    return [
        svg.line(at, top, at, bottom, "threshold"),
        svg.text(at, top - 6, f"{name}: {score_text(threshold)}", "label", anchor),
    ]
