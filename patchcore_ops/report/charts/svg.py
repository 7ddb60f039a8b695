"""Elements of inline SVG drawings. Every text is escaped; colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

Numbers = npt.NDArray[np.float64]
MINUS = "−"


@dataclass(frozen=True)
class Scale:
    """A linear map from data, `low` to `high` (which differ), to drawing units."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the position of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def all(self, values: Numbers) -> Numbers:
        """Return the positions of many values."""
        share = (values - self.low) / (self.high - self.low)
        return np.asarray(self.start + share * (self.end - self.start))


def drawing(
    width: float, height: float, title: str, description: str, parts: Iterable[Markup]
) -> Markup:
    """Assemble a drawing that scales with the page and is read out by its title and description."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(_short(width), _short(height), title, description, Markup("").join(parts))


def text(x: float, y: float, content: str, css: str, anchor: str = "start") -> Markup:
    """Write a text with its baseline at `y`; `anchor` is `start`, `middle` or `end`."""
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(
        _short(x), _short(y), css, anchor, content
    )


def upright_text(x: float, y: float, content: str, css: str) -> Markup:
    """Write a text that reads upwards, centred on a point."""
    return Markup(
        '<text transform="translate({} {}) rotate(-90)" class="{}" text-anchor="middle">{}</text>'
    ).format(_short(x), _short(y), css, content)


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """Draw a straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
        _short(x1), _short(y1), _short(x2), _short(y2), css
    )


def rectangle(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """Draw a rectangle from its upper left corner."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        _short(x), _short(y), _short(width), _short(height), css
    )


def polyline(x: Numbers, y: Numbers, css: str) -> Markup:
    """Connect points."""
    return Markup('<polyline points="{}" class="{}"/>').format(_points(x, y), css)


def polygon(x: Numbers, y: Numbers, css: str) -> Markup:
    """Fill the area within points."""
    return Markup('<polygon points="{}" class="{}"/>').format(_points(x, y), css)


def grid(across: Scale, upward: Scale, x_labels: Mapping[float, str]) -> list[Markup]:
    """Draw lines and labels of both axes; those of the y axis are at round numbers."""
    parts = []
    for tick, label in x_labels.items():
        x = across.at(tick)
        parts.append(line(x, upward.start, x, upward.end, "grid" if tick else "axis"))
        parts.append(text(x, upward.start + 17, label, "tick", "middle"))
    for tick in round_ticks(upward.low, upward.high):
        y = upward.at(tick)
        parts.append(line(across.start, y, across.end, y, "grid" if tick else "axis"))
        parts.append(text(across.start - 6, y + 4, f"{tick:g}", "tick", "end"))
    return parts


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` multiples of 1, 2 or 5 times a power of ten within two limits."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) < most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * at, 12) for at in range(first, last + 1)]


def score_text(score: float) -> str:
    """Format a score with at least four significant digits, so that similar scores align."""
    text = f"{score:.0f}" if 1e4 <= abs(score) < 1e7 else f"{score:#.4g}".removesuffix(".")
    return text.replace("-", MINUS)


def _points(x: Numbers, y: Numbers) -> str:
    return " ".join(f"{_short(a)},{_short(b)}" for a, b in zip(x, y, strict=True))


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
