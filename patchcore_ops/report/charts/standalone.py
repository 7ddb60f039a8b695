"""A drawing as an SVG file, with the report's light colours."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from markupsafe import Markup

# The light colours of report/base.css; a drawing in a file cannot know its surroundings.
COLOURS = {
    "--surface": "#ffffff",
    "--ink": "#18212b",
    "--quiet": "#55616e",
    "--line": "#dbe0e6",
    "--accent": "#0f5c9c",
    "--bar": "#6296c2",
    "--good": "#3f78ad",
    "--bad": "#b85420",
    "--area": "#0f5c9c24",
}
_SCALE = 1.4
_OPENING = re.compile(r'<svg class="chart" viewBox="0 0 (\S+) (\S+)"')


def standalone(drawing: Markup) -> str:
    """Complete a drawing of `svg.drawing` to an SVG document on white that loads nothing."""
    opening = _OPENING.match(drawing)
    if opening is None:
        raise ValueError("not a drawing of patchcore_ops.report.charts.svg")
    width, height = (float(side) for side in opening.groups())
    margin = 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'width="{_SCALE * (width + 2 * margin):.0f}" '
        f'height="{_SCALE * (height + 2 * margin):.0f}" '
        f'viewBox="{-margin} {-margin} {width + 2 * margin:g} {height + 2 * margin:g}">'
        f"<style>{_style()}</style>"
    )
    _, _, content = str(drawing).partition(">")
    return head + content


@cache
def _style() -> str:
    rules = (resources.files("patchcore_ops.report.charts") / "charts.css").read_text(
        encoding="utf-8"
    )
    rules = re.sub(r"/\*.*?\*/", "", rules, flags=re.DOTALL)
    for name, colour in COLOURS.items():
        rules = rules.replace(f"var({name})", colour)
    ground = f".chart{{background:{COLOURS['--surface']};font-family:system-ui,sans-serif}}"
    return ground + re.sub(r"\s*([{}:;,])\s*", r"\1", rules).strip()
