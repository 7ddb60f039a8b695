"""Drawings with axes: bars, curves, the distribution of scores, coverage; and as files."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from importlib import resources

import numpy as np
import pytest
from report_samples import HOSTILE, Page

from patchcore_ops.report.charts.bars import axis_floor, metric_bars
from patchcore_ops.report.charts.calibration import calibration_chart
from patchcore_ops.report.charts.coverage import coverage_chart
from patchcore_ops.report.charts.curves import METRIC_CURVES, curve_chart, metric_curves
from patchcore_ops.report.charts.histogram import score_histogram
from patchcore_ops.report.charts.standalone import COLOURS, standalone
from patchcore_ops.report.charts.svg import round_ticks, score_text


def test_bars_show_values_and_published_figures() -> None:
    markup = metric_bars("AUROC", {"a": 0.9, "b": math.nan}, {"a": 0.95}, 0.8)
    page = Page(str(markup))
    assert len(page.all("rect", class_="bar")) == 1
    assert len(page.all("line", class_="published")) == 1
    assert {"90.00", "not defined"} <= set(page.texts("text"))
    assert page.texts("desc") == ["a 90.00, b not defined"]


@pytest.mark.parametrize(
    ("values", "floor"), [((0.99, 0.83), 0.8), ((1.0,), 0.9), ((0.01,), 0.0), ((), 0.0)]
)
def test_axis_begins_below_all_values(values: Sequence[float], floor: float) -> None:
    assert axis_floor(values) == pytest.approx(floor)


def test_long_curves_are_thinned_without_losing_their_ends() -> None:
    x = np.linspace(0, 1, 100_000)
    page = Page(str(curve_chart("ROC", {"x": x, "y": np.sqrt(x)}, "rate")))
    points = page.all("polyline")[0]["points"].split()
    assert 100 < len(points) < 300
    assert points[0] == "54,214"
    assert points[-1] == "290,10"


@pytest.mark.parametrize(
    ("curve", "limit", "line", "shading"),
    [
        ([[0, 0.5, 1], [0, 1, 1]], 0.25, "290,10", "54,214 54,214 113,112 113,214"),
        ([[0, 0.1, 0.3], [0, 0.5, 1]], 0.3, "290,10", "54,214 54,214 132.7,112 290,10 290,214"),
    ],
)
def test_shading_ends_at_the_limit_and_the_axis_with_the_curve(
    curve: list[list[float]], limit: float, line: str, shading: str
) -> None:
    x, y = (np.array(axis, dtype=float) for axis in curve)
    page = Page(str(curve_chart("PRO", {"x": x, "y": y}, "overlap", limit=limit)))
    assert page.all("polyline")[0]["points"].endswith(line)
    assert page.all("polygon")[0]["points"] == shading
    assert any(text.endswith(str(limit)) for text in page.texts("text"))


def test_histogram_counts_both_classes() -> None:
    scores, is_anomaly = np.array([1, 1, 3.0]), np.array([0, 0, 1], dtype=bool)
    markup = score_histogram(scores, is_anomaly, threshold=2.0)
    page = Page(str(markup))
    assert len(page.all("rect", class_="good")) == len(page.all("rect", class_="bad")) == 1
    assert len(page.all("line", class_="threshold")) == 1
    assert score_histogram(np.array([np.nan]), np.zeros(1, dtype=bool), math.nan) is None


@pytest.mark.parametrize("greatest", [100.0, 10_000.0])
def test_labels_of_the_greatest_scores_are_not_cut_off(greatest: float) -> None:
    scores = np.array([0.1, 0.9, 1.0]) * greatest
    is_anomaly = np.array([0, 0, 1], dtype=bool)
    for markup in (
        score_histogram(scores, is_anomaly, threshold=scores[1]),
        calibration_chart(scores[:1], scores[1:2], scores[2:], scores[1]),
    ):
        page = Page(str(markup))
        width = float(page.all("svg")[0]["viewbox"].split()[2])
        text = f"{greatest:g}"
        places = page.all("text", class_="tick"), page.texts("text", class_="tick")
        [x] = [float(label["x"]) for label, shown in zip(*places, strict=True) if shown == text]
        assert x + 7 * len(text) / 2 <= width


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.8, 1), (0, 3), (-2.5, 1e4), (1e-5, 2e-5)])
def test_ticks_lie_within_their_limits(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 6 + 1
    assert low - 1e-9 <= ticks[0]
    assert ticks[-1] <= high + 1e-9


def test_curves_that_are_missing_are_none() -> None:
    curve = {"x": [0.0, 1.0], "y": [0.0, 1.0]}
    drawings = metric_curves({"roc": curve, "pro": {"x": [0.0], "y": [math.nan]}}, 0.3)
    assert list(drawings) == [kind.title for kind in METRIC_CURVES]
    assert [drawing is None for drawing in drawings.values()] == [False, True, True]
    assert set(metric_curves(None, 0.3).values()) == {None}


def test_coverage_falls_from_left_to_right() -> None:
    picks, radius = [1, 2, 4, 8, 13], [8.0, 6.0, 5.0, 4.5, 4.0]
    page = Page(str(coverage_chart("Coverage", picks, radius)))
    points = [point.split(",") for point in page.all("polyline")[0]["points"].split()]
    across, down = ([float(point[axis]) for point in points] for axis in (0, 1))
    np.testing.assert_allclose(
        np.diff(across), np.diff(np.log2(picks)) / np.log2(13) * (370 - 54), atol=0.11
    )
    assert across == sorted(across)
    assert down == sorted(down)
    assert {"1", "2", "4", "8", "4.000"} <= set(page.texts("text"))
    assert page.texts("desc") == ["From 8.000 after 1 to 4.000 after 13 picks."]


@pytest.mark.parametrize(("picks", "radius"), [([1], [2.0]), ([1, 2], [0.0, 0.0])])
def test_coverage_of_tiny_banks_is_drawn(picks: Sequence[int], radius: Sequence[float]) -> None:
    assert "NaN" not in (drawn := str(coverage_chart("Coverage", picks, radius)))
    assert "nan" not in drawn.lower().replace("coverage radius", "")


def test_a_drawing_becomes_a_complete_file() -> None:
    drawing = metric_bars(HOSTILE, {HOSTILE: 0.9}, {}, 0.8)
    file = standalone(drawing)
    root = ET.fromstring(file)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["width"].isdigit()
    assert root[1].text == HOSTILE
    assert "var(" not in file
    assert "url(" not in file
    assert "<script" not in file
    with pytest.raises(ValueError, match="not a drawing"):
        standalone(type(drawing)("<p>no</p>"))


def test_colours_of_files_are_those_of_the_report_in_light() -> None:
    style = (resources.files("patchcore_ops.report") / "page/base.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"(--[a-z-]+): (#\w+);", style.partition("}")[0]))
    assert {name: light[name] for name in COLOURS} == COLOURS


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.5, "0.5000"), (17362.2, "17362"), (1e4, "10000"), (-2.0, "−2.000"), (3e9, "3.000e+09")],
)
def test_scores_are_written_so_that_they_align(score: float, text: str) -> None:
    assert score_text(score) == text
