"""The HTML report: what it says, that it stands alone, and that it copes with missing pieces."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from patchcore_ops.metrics import METRICS, summary_table
from patchcore_ops.report import (
    BenchmarkReport,
    CategoryReport,
    GalleryItem,
    ImageScores,
    choose_items,
    published_baseline,
    render_report,
)
from patchcore_ops.report.charts import axis_floor, curve_chart, metric_bars, score_histogram
from patchcore_ops.report.encode import MAX_SIDE, outline_uri, picture_uri
from patchcore_ops.report.svg import round_ticks
from patchcore_ops.report.tables import flatten

HOSTILE = "<script>alert('x')</script>&\"'"
DEFECTS = ("crack", "scratch")
VOID = {"meta", "link", "img", "input", "rect", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """The elements of a page in document order: tag, attributes and the text within."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[list[str]] = []
        self.feed(markup)
        assert not self._open, "unclosed elements"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {key: value or "" for key, value in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element[2])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for texts in self._open:
            texts.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [attributes for attributes, _ in self._matching(tag, wanted)]

    def texts(self, tag: str, **wanted: str) -> list[str]:
        return [" ".join("".join(text).split()) for _, text in self._matching(tag, wanted)]

    def _matching(
        self, tag: str, wanted: Mapping[str, str]
    ) -> list[tuple[dict[str, str], list[str]]]:
        names = {key.rstrip("_").replace("_", "-"): value for key, value in wanted.items()}
        return [
            (attributes, text)
            for other, attributes, text in self.elements
            if other == tag and all(attributes.get(key) == names[key] for key in names)
        ]


def make_metrics(value: float = 0.9, **changes: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(METRICS, value),
        "instance_f1_threshold": 2.5,
        "pixel_f1_threshold": 1.25,
        "notes": {},
        "per_defect": [
            {"defect_type": defect, "images": 4, **dict.fromkeys(METRICS, value)}
            for defect in DEFECTS
        ],
        "images": 12,
        "anomalous_images": 8,
        "masked_images": 8,
        "curves": {
            name: {"x": [0.0, 0.1, 0.5, 1.0], "y": [0.0, 0.8, 0.95, 1.0]}
            for name in ("roc", "pixel_roc", "pro")
        },
        **changes,
    }


def make_gallery(count: int = 12, side: int = 64) -> list[GalleryItem]:
    rng = np.random.default_rng(0)
    labels = ("good", *DEFECTS)
    mask = np.zeros((side, side), dtype=bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    ramp = np.linspace(0, 160, side)[:, None, None] * np.ones((1, side, 3))
    return [
        GalleryItem(
            name=f"{label}/{at:03}.png",
            label=label,
            is_anomaly=label != "good",
            score=1.0 + at / 4,
            image=(ramp + rng.integers(0, 40, (side, side, 3))).astype(np.uint8),
            mask=mask if label != "good" else np.zeros_like(mask),
            heat=(ramp + 40).astype(np.uint8),
        )
        for at in range(count)
        for label in [labels[at % len(labels)]]
    ]


def make_category(name: str = "bottle", value: float = 0.9, **changes: Any) -> CategoryReport:
    gallery = make_gallery()
    category = CategoryReport(
        name=name,
        metrics=make_metrics(value),
        scores=ImageScores(
            [item.label for item in gallery],
            np.array([item.is_anomaly for item in gallery]),
            np.array([item.score for item in gallery]),
        ),
        gallery=gallery,
        config={"embedding": {"members": [{"backbone": "resnet18", "layers": ["a", "b"]}]}},
        provenance={"run": "0f3a"},
    )
    return dataclasses.replace(category, **changes)


def make_report(*categories: CategoryReport, **changes: Any) -> BenchmarkReport:
    report = BenchmarkReport(
        title="Nightly benchmark",
        created=datetime(2026, 3, 4, 9, 30, tzinfo=UTC),
        summary=summary_table({category.name: category.metrics for category in categories}),
        categories=categories,
        provenance={"torch": "2.9.1"},
    )
    return dataclasses.replace(report, **changes)


def figures(**by_category: float) -> pd.DataFrame:
    """Tabulate one value of every metric for each category."""
    return summary_table({name: make_metrics(value) for name, value in by_category.items()})


def picture_of(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.fixture(scope="module")
def page() -> Page:
    categories = [make_category("bottle", 0.9), make_category("cable", 0.8)]
    categories.append(make_category("capsule", 0.7))
    report = make_report(*categories, missing=["zipper"])
    return Page(
        render_report(
            dataclasses.replace(
                report,
                previous=figures(bottle=0.88, cable=0.81),
                published=published_baseline(),
            )
        )
    )


def test_says_what_and_when(page: Page) -> None:
    assert page.texts("title")[0] == "Nightly benchmark"
    assert page.texts("h1") == ["Nightly benchmark"]
    assert page.all("time") == [{"datetime": "2026-03-04T09:30:00+00:00"}]
    assert page.texts("time") == ["2026-03-04 09:30 UTC"]
    headlines = page.texts("dl", class_="headlines")[0]
    assert headlines.startswith("Image AUROC 80.00")
    assert "zipper" in page.texts("p", role="note")[0]


def test_sections_come_in_order(page: Page) -> None:
    assert page.texts("h2")[:6] == [
        "Summary",
        "By category",
        "bottle",
        "cable",
        "capsule",
        "About this report",
    ]
    assert page.texts("h3")[:7] == [
        "Image metrics",
        "Pixel metrics",
        "Curves",
        "By defect type",
        "Test images",
        "Configuration",
        "Provenance",
    ]


def test_headings_and_landmarks_are_sound(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1


def test_links_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for attributes in page.all("a")}
    assert targets <= {f"#{name}" for name in ids}
    assert "#category-1-bottle" in targets


def test_loads_nothing() -> None:
    markup = render_report(make_report(make_category()))
    page = Page(markup)
    for tag, attributes, _ in page.elements:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
    assert "url(" not in markup
    assert "@import" not in markup
    assert not re.search(r"\bfetch\(|XMLHttpRequest|\bimport\(", markup)
    assert page.all("meta", http_equiv="Content-Security-Policy")[0]["content"] == (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    )


def test_every_name_is_escaped() -> None:
    item = dataclasses.replace(make_gallery(1)[0], name=HOSTILE, label=HOSTILE)
    metrics = make_metrics(math.nan, notes=dict.fromkeys(METRICS, HOSTILE))
    metrics["per_defect"][0]["defect_type"] = HOSTILE
    category = make_category(
        HOSTILE,
        metrics=metrics,
        gallery=[item],
        config={HOSTILE: {HOSTILE: HOSTILE}},
        provenance={HOSTILE: HOSTILE},
    )
    report = make_report(category, make_category("cable"))
    markup = render_report(
        dataclasses.replace(
            report,
            title=HOSTILE,
            missing=[HOSTILE],
            provenance={HOSTILE: HOSTILE},
            previous=figures(**{HOSTILE: 0.5}),
        )
    )
    page = Page(markup)
    assert "<script>alert" not in markup
    assert len(page.all("script")) == 1
    assert page.texts("h1") == [HOSTILE]
    assert HOSTILE in page.texts("h2")
    assert page.all("li", class_="card")[0]["data-label"] == HOSTILE
    assert page.all("button", aria_pressed="false")[0]["data-filter"] == HOSTILE


def test_every_picture_has_a_text(page: Page) -> None:
    assert all("alt" in attributes for attributes in page.all("img"))
    pictures = [attributes for attributes in page.all("img") if attributes.get("data-role")]
    assert pictures
    assert all(attributes["alt"] for attributes in pictures)
    drawings = page.all("svg")
    assert len(drawings) == 3 + 3 * 4
    assert all(attributes["role"] == "img" for attributes in drawings)
    assert len(page.all("desc")) == len(drawings)


def test_summary_can_be_sorted_and_keeps_its_mean_apart(page: Page) -> None:
    summary = page.elements[
        next(at for at, element in enumerate(page.elements) if element[0] == "table") :
    ]
    body = next(at for at, element in enumerate(summary) if element[0] == "tbody")
    headers = [attributes for tag, attributes, _ in summary[:body] if "aria-sort" in attributes]
    assert [header["data-sort"] for header in headers] == ["text"] + ["number"] * len(METRICS)
    assert {header["aria-sort"] for header in headers} == {"none"}
    assert len([tag for tag, _, _ in summary[:body] if tag == "button"]) == len(headers)
    assert page.texts("tfoot")[0].startswith("Mean 80.00")


def test_best_and_worst_are_marked(page: Page) -> None:
    assert page.texts("span", class_="best")[0] == "90.00 (best)"
    assert page.texts("span", class_="worst")[0] == "70.00 (worst)"


def test_two_categories_have_no_best() -> None:
    page = Page(render_report(make_report(make_category("a", 0.9), make_category("b", 0.8))))
    assert not page.all("span", class_="best")


def test_differences_are_points_to_the_same_category(page: Page) -> None:
    previous = page.texts("span", class_="difference previous up")
    assert previous[0] == "+2.00"
    assert page.texts("span", class_="difference previous down")[0] == "−1.00"
    published = page.all("span", class_="difference published down")
    assert published[0]["title"] == "compared with the published figures (100.00)"
    assert page.texts("span", class_="difference published down")[0] == "−10.00"
    assert [box["value"] for box in page.all("input", name="compare")] == [
        "published",
        "previous",
        "nothing",
    ]


def test_difference_of_means_is_over_common_categories(page: Page) -> None:
    headlines = page.texts("dl", class_="headlines")[0]
    # +2 for bottle and -1 for cable; capsule has no previous value.
    assert "+0.50 vs previous (2 of 3)" in headlines
    assert "previous wave are over the 2 of 3 categories" in " ".join(page.texts("p"))


def test_thresholds_are_not_compared() -> None:
    report = make_report(make_category("bottle", 0.9), previous=figures(bottle=0.8))
    page = Page(render_report(report))
    shares = [name for name in METRICS if not name.endswith("threshold")]
    # The category's row and the mean's.
    assert len(page.texts("span", class_="difference previous up")) == 2 * len(shares)


def test_unchanged_values_say_so() -> None:
    report = make_report(make_category("bottle", 0.9), previous=figures(bottle=0.9))
    assert set(Page(render_report(report)).texts("span", class_="difference previous same")) == {
        "±0.00"
    }


def test_nothing_in_common_gives_no_comparison() -> None:
    report = make_report(make_category("own_part"), published=published_baseline())
    page = Page(render_report(report))
    assert not page.all("input")
    assert "published" not in page.texts("section", id="by-category")[0]


def test_undefined_values_are_dashes_with_a_reason() -> None:
    reason = "the test images are all normal or all defective"
    metrics = make_metrics(instance_auroc=math.nan, notes={"instance_auroc": reason}, per_defect=[])
    page = Page(render_report(make_report(make_category(metrics=metrics))))
    assert {"class": "undefined", "title": reason} in page.all("span")
    assert f"—undefined: {reason}" in page.texts("span", class_="undefined")
    assert page.all("td", data_value="")
    assert page.texts("ul", class_="notes") == [f"— bottle, image figures: {reason}."]
    assert ">nan<" not in render_report(make_report(make_category(metrics=metrics))).lower()


def test_filters_and_order_of_the_gallery(page: Page) -> None:
    pressed = page.texts("button", aria_pressed="true")
    assert pressed == ["all 12"] * 3
    labels = [button["data-filter"] for button in page.all("button", aria_pressed="false")][:3]
    assert labels == ["crack", "scratch", "good"]
    scores = [float(card["data-score"]) for card in page.all("li", class_="card")][:12]
    assert scores == sorted(scores, reverse=True)
    assert len(page.all("dialog")) == 1
    assert page.texts("button", class_="enlarge needs-script")[0].startswith("Enlarge ")


def test_misjudged_images_are_named() -> None:
    page = Page(render_report(make_report(make_category())))
    verdicts = page.texts("span", class_="verdict")
    # The threshold is 2.5: scores from 1 on, in steps of 0.25, labels taking turns.
    assert verdicts.count("missed") == 4
    assert verdicts.count("false alarm") == 2


def test_defect_types_are_listed(page: Page) -> None:
    names = page.texts("th", scope="row")
    assert names.count("crack") == names.count("scratch") == 3
    assert page.texts("td", data_value="4") == ["4"] * 6


@pytest.mark.parametrize("curves", [None, {}, {"roc": None}, {"roc": {"x": [], "y": []}}])
def test_curves_may_be_missing(curves: Mapping[str, Any] | None) -> None:
    page = Page(render_report(make_report(make_category(metrics=make_metrics(curves=curves)))))
    assert page.texts("p", class_="nothing") == ["The curve was not kept."] * 3


def test_metrics_without_curves_key() -> None:
    metrics = make_metrics()
    del metrics["curves"]
    assert "The curve was not kept." in render_report(make_report(make_category(metrics=metrics)))


def test_masks_may_be_missing() -> None:
    gallery = [dataclasses.replace(item, mask=None) for item in make_gallery()]
    page = Page(render_report(make_report(make_category(gallery=gallery))))
    assert not page.all("img", data_role="outline")
    truths = {card["data-label"]: card["data-truth"] for card in page.all("li", class_="card")}
    assert truths == {"good": "no defect", "crack": "not marked", "scratch": "not marked"}


def test_one_class_only() -> None:
    gallery = [item for item in make_gallery() if not item.is_anomaly]
    scores = ImageScores(
        ["good"] * len(gallery), np.zeros(len(gallery), dtype=bool), np.ones(len(gallery))
    )
    metrics = make_metrics(math.nan, instance_f1_threshold=math.nan, per_defect=[], curves=None)
    category = make_category(metrics=metrics, gallery=gallery, scores=scores)
    page = Page(render_report(make_report(category)))
    assert "4 good images above the line, 0 defective" in " ".join(page.texts("desc"))
    assert not page.all("span", class_="verdict")


def test_a_benchmark_without_results() -> None:
    page = Page(render_report(make_report(missing=["bottle", "cable"])))
    assert "2 configured categories have no results" in page.texts("p", role="note")[0]
    assert not page.all("dialog")
    assert not page.all("svg")


def test_a_category_without_pictures_or_scores() -> None:
    scores = ImageScores([], np.zeros(0, dtype=bool), np.zeros(0))
    page = Page(render_report(make_report(make_category(gallery=[], scores=scores))))
    assert "There are no scores." in page.texts("p", class_="nothing")
    assert "Test images" not in page.texts("h3")


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
