"""The parts of the report: pictures, charts, the choice of images, published figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from report_samples import Page, make_category, make_gallery, make_report, picture_of

from patchcore_ops.report import (
    ImageScores,
    choose_items,
    published_baseline,
    render_report,
)
from patchcore_ops.report.charts import axis_floor, curve_chart, metric_bars, score_histogram
from patchcore_ops.report.encode import MAX_SIDE, outline_uri, picture_uri
from patchcore_ops.report.svg import round_ticks
from patchcore_ops.report.tables import flatten


def test_size_and_number_of_pictures_are_limited() -> None:
    gallery = make_gallery(40, side=256)
    categories = [make_category(name, gallery=gallery) for name in ("a", "b", "c")]
    markup = render_report(make_report(*categories))
    assert len(markup) < 4_000_000
    page = Page(markup)
    assert len(page.all("li", class_="card")) == 3 * 24
    assert picture_of(page.all("img", data_role="image")[0]["src"]).size == (MAX_SIDE, MAX_SIDE)
    limited = Page(render_report(make_report(*categories), gallery_limit=5))
    assert len(limited.all("li", class_="card")) == 3 * 5


def test_pictures_keep_their_shape() -> None:
    wide = np.full((100, 400, 3), (200, 20, 20), dtype=np.uint8)
    image = picture_of(picture_uri(wide))
    assert image.size == (MAX_SIDE, MAX_SIDE // 4)
    assert np.abs(np.asarray(image.convert("RGB"), dtype=int) - (200, 20, 20)).max() < 12
    assert picture_of(picture_uri(wide[:, :50])).size == (50, 100)


def test_outline_surrounds_even_the_smallest_defect() -> None:
    mask = np.zeros((768, 768), dtype=bool)
    mask[400, 400] = True
    layer = np.asarray(picture_of(outline_uri(mask)).convert("RGBA"))
    assert layer.shape == (MAX_SIDE, MAX_SIDE, 4)
    drawn = layer[..., 3] > 0
    assert drawn[96:105, 96:105].sum() == drawn.sum() == 12
    assert not drawn[100, 100]


def test_choice_is_fair_and_spans_the_scores() -> None:
    labels = ["good"] * 10 + ["crack"] * 10 + ["rare"]
    scores = np.arange(21.0)
    chosen = choose_items(labels, scores, limit=7)
    assert chosen == sorted(set(chosen))
    assert [labels[at] for at in chosen].count("rare") == 1
    assert {0, 9, 10, 19, 20} <= set(chosen)
    assert choose_items(labels, scores, limit=100) == list(range(21))
    assert choose_items([], np.zeros(0)) == []


def test_published_figures_are_the_whole_table() -> None:
    published = published_baseline()
    columns = ["instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro"]
    assert list(published.columns) == ["category", *columns]
    assert len(published) == 16
    assert published["category"].iloc[-1] == "Mean"
    means = published[columns].iloc[:-1].mean()
    np.testing.assert_allclose(published[columns].iloc[-1].astype(float), means, atol=1e-4)


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


def test_shading_ends_at_the_limit() -> None:
    curve = {"x": [0.0, 0.5, 1.0], "y": [0.0, 1.0, 1.0]}
    page = Page(str(curve_chart("PRO", curve, "overlap", limit=0.25)))
    assert page.all("polygon")[0]["points"] == "54,214 54,214 113,112 113,214"
    assert "limit 0.25" in page.texts("text")


def test_axis_ends_with_a_curve_that_ends_at_the_limit() -> None:
    curve = {"x": [0.0, 0.1, 0.3], "y": [0.0, 0.5, 1.0]}
    page = Page(str(curve_chart("PRO", curve, "overlap", limit=0.3)))
    assert page.all("polyline")[0]["points"].endswith(" 290,10")
    assert "0.3" in page.texts("text")


def test_histogram_counts_both_classes() -> None:
    scores = ImageScores(["good"] * 2 + ["bad"], np.array([0, 0, 1], bool), np.array([1, 1, 3.0]))
    markup = score_histogram(scores, threshold=2.0)
    page = Page(str(markup))
    assert len(page.all("rect", class_="good")) == len(page.all("rect", class_="bad")) == 1
    assert len(page.all("line", class_="threshold")) == 1
    nowhere = ImageScores(["good"], np.zeros(1, dtype=bool), np.array([np.nan]))
    assert score_histogram(nowhere, math.nan) is None


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.8, 1), (0, 3), (-2.5, 1e4), (1e-5, 2e-5)])
def test_ticks_lie_within_their_limits(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 6 + 1
    assert low - 1e-9 <= ticks[0]
    assert ticks[-1] <= high + 1e-9


def test_configuration_is_flattened_by_path() -> None:
    nested = {"a": {"members": [{"layers": ["x", "y"]}, {"layers": []}]}, "b": None}
    assert list(flatten(nested)) == [
        ("a.members.0.layers", "x, y"),
        ("a.members.1.layers", ""),
        ("b", "None"),
    ]
