"""The HTML report: what it says, that it stands alone, and that it copes with missing pieces."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from report_samples import (
    HOSTILE,
    Page,
    figures,
    make_category,
    make_gallery,
    make_metrics,
    make_report,
)

from patchcore_ops.metrics.category import METRICS
from patchcore_ops.report import (
    BenchmarkReport,
    CategoryReport,
    ImageScores,
    Origin,
    published_baseline,
    render_report,
)

NO_SCORES = ImageScores([], np.zeros(0, dtype=bool), np.zeros(0))


def rendered(*categories: CategoryReport, **changes: Any) -> Page:
    return Page(render_report(make_report(*categories, **changes)))


@pytest.fixture(scope="module")
def report() -> BenchmarkReport:
    scores = {"bottle": 0.9, "cable": 0.8, "capsule": 0.7}
    return make_report(
        *(make_category(name, value) for name, value in scores.items()),
        missing=["zipper"],
        previous=figures(bottle=0.88, cable=0.81),
        published=published_baseline(),
    )


@pytest.fixture(scope="module")
def page(report: BenchmarkReport) -> Page:
    return Page(render_report(report))


def test_says_what_and_when_in_sections(page: Page) -> None:
    assert [page.texts(tag)[0] for tag in ("title", "h1")] == ["Nightly benchmark"] * 2
    assert page.all("time") == [{"datetime": "2026-03-04T09:30:00+00:00"}]
    assert page.texts("dl", class_="headlines")[0].startswith("Image AUROC 80.00")
    assert "zipper" in page.texts("p", role="note")[0]
    sections = ["Summary", "By category", "bottle", "cable", "capsule", "About this report"]
    assert page.texts("h2")[:6] == sections
    parts = ["Image metrics", "Pixel metrics", "Curves", "By defect type", "Test images"]
    assert page.texts("h3")[:7] == [*parts, "Configuration", "Provenance"]
    names = page.texts("th", scope="row")
    assert names.count("crack") == names.count("scratch") == 3
    assert page.texts("td", data_value="4") == ["4"] * 6, "images of each defect type"


def test_headings_landmarks_links_and_texts_of_pictures_are_sound(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for attributes in page.all("a")}
    assert "#category-1-bottle" in targets <= {f"#{name}" for name in ids}
    pictures = [attributes for attributes in page.all("img") if attributes.get("data-role")]
    assert pictures
    assert all(attributes["alt"] for attributes in pictures)
    assert all("alt" in attributes for attributes in page.all("img"))
    assert [drawing["role"] for drawing in page.all("svg")] == ["img"] * (3 + 3 * 4)
    assert len(page.all("desc")) == 3 + 3 * 4


def test_loads_nothing(report: BenchmarkReport, page: Page) -> None:
    for tag, attributes, _ in page.elements:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
    markup = render_report(report)
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\(", markup)
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
    report = make_report(
        category,
        make_category("cable"),
        title=HOSTILE,
        missing=[HOSTILE],
        provenance={HOSTILE: HOSTILE},
        previous=figures(**{HOSTILE: 0.5}),
    )
    page = Page(markup := render_report(report))
    assert "<script>alert" not in markup
    assert len(page.all("script")) == 1
    assert page.texts("h1") == [HOSTILE]
    assert HOSTILE in page.texts("h2")
    assert page.all("li", class_="card")[0]["data-label"] == HOSTILE
    assert page.all("button", aria_pressed="false")[0]["data-filter"] == HOSTILE


def test_summary_can_be_sorted_and_keeps_its_mean_apart(page: Page) -> None:
    tags = [tag for tag, _, _ in page.elements]
    head = page.elements[tags.index("table") : tags.index("tbody")]
    headers = [attributes for _, attributes, _ in head if "aria-sort" in attributes]
    assert [header["data-sort"] for header in headers] == ["text"] + ["number"] * len(METRICS)
    assert {header["aria-sort"] for header in headers} == {"none"}
    assert len([tag for tag, _, _ in head if tag == "button"]) == len(headers)
    assert page.texts("tfoot")[0].startswith("Mean 80.00")


def test_best_and_worst_are_marked_among_more_than_two(page: Page) -> None:
    assert page.texts("span", class_="best")[0] == "90.00 (best)"
    assert page.texts("span", class_="worst")[0] == "70.00 (worst)"
    assert not rendered(make_category("a", 0.9), make_category("b", 0.8)).all("span", class_="best")


def test_differences_are_points_to_the_same_category(page: Page) -> None:
    up, down = "difference previous up", "difference previous down"
    assert page.texts("span", class_=up)[0] == "+2.00"
    assert page.texts("span", class_=down)[0] == "−1.00"
    published = "difference published down"
    assert "(100.00)" in page.all("span", class_=published)[0]["title"]
    assert page.texts("span", class_=published)[0] == "−10.00"
    choices = [box["value"] for box in page.all("input", name="compare")]
    assert choices == ["published", "previous", "nothing"]
    # +2 for bottle and -1 for cable; capsule has no previous value.
    assert "+0.50 vs previous (2 of 3)" in page.texts("dl", class_="headlines")[0]
    of_one = rendered(make_category("bottle", 0.9), previous=figures(bottle=0.8))
    shares = [name for name in METRICS if not name.endswith("threshold")]
    # The category's row and the mean's.
    assert len(of_one.texts("span", class_=up)) == 2 * len(shares)
    same = rendered(make_category("bottle", 0.9), previous=figures(bottle=0.9))
    assert set(same.texts("span", class_="difference previous same")) == {"±0.00"}
    nothing = rendered(make_category("own_part"), published=published_baseline())
    assert not nothing.all("input")
    assert "published" not in nothing.texts("section", id="by-category")[0]


def test_undefined_values_are_dashes_with_a_reason() -> None:
    reason = "the test images are all normal or all defective"
    metrics = make_metrics(instance_auroc=math.nan, notes={"instance_auroc": reason}, per_defect=[])
    page = rendered(make_category(metrics=metrics))
    assert {"class": "undefined", "title": reason} in page.all("span")
    assert f"—undefined: {reason}" in page.texts("span", class_="undefined")
    assert page.all("td", data_value="")
    assert reason in page.texts("ul", class_="notes")[0]
    assert "nan" not in page.texts("td")


def test_gallery_is_sorted_filtered_and_names_misjudged_images(page: Page) -> None:
    assert page.texts("button", aria_pressed="true") == ["all 12"] * 3
    labels = [button["data-filter"] for button in page.all("button", aria_pressed="false")][:3]
    assert labels == ["crack", "scratch", "good"]
    scores = [float(card["data-score"]) for card in page.all("li", class_="card")][:12]
    assert scores == sorted(scores, reverse=True)
    assert len(page.all("dialog")) == 1
    # The threshold is 2.5: scores from 1 on, in steps of 0.25, labels taking turns.
    verdicts = rendered(make_category()).texts("span", class_="verdict")
    assert (verdicts.count("missed"), verdicts.count("false alarm")) == (4, 2)


def test_origins_are_listed_with_version_and_run() -> None:
    origins = [Origin("raw_embeddings", "0a1b", "71af"), Origin("images", "2c3d")]
    page = rendered(make_category(origins=origins))
    assert page.texts("td", class_="code") == ["0a1b", "71af", "2c3d", "an input"]
    assert "raw_embeddings" in page.texts("th", scope="row")


@pytest.mark.parametrize("curves", [None, {}, {"roc": None}, {"roc": {"x": [], "y": []}}])
def test_curves_may_be_missing(curves: Mapping[str, Any] | None) -> None:
    metrics = make_metrics(curves=curves)
    if curves is None:
        del metrics["curves"]
    page = rendered(make_category(metrics=metrics))
    assert page.texts("p", class_="nothing") == ["The curve was not kept."] * 3


def test_a_mean_over_fewer_categories_says_so() -> None:
    without_masks = make_category("b", metrics=make_metrics(aupro=math.nan))
    page = rendered(make_category("a"), without_masks)
    assert page.texts("dd")[:4] == ["90.00"] * 3 + ["90.00 over 1 of 2"]


def test_an_undefined_curve_says_why() -> None:
    notes = {"full_pixel_auroc": "there is no mask", "aupro": "there is no mask"}
    page = rendered(make_category(metrics=make_metrics(notes=notes, curves={"roc": None})))
    said = ["The curve was not kept.", *["Not defined: there is no mask."] * 2]
    assert page.texts("p", class_="nothing") == said


def test_masks_may_be_missing() -> None:
    gallery = [dataclasses.replace(item, mask=None) for item in make_gallery()]
    page = rendered(make_category(gallery=gallery))
    assert not page.all("img", data_role="outline")
    truths = {card["data-label"]: card["data-truth"] for card in page.all("li", class_="card")}
    assert truths == {"good": "no defect", "crack": "not marked", "scratch": "not marked"}


def test_one_class_only() -> None:
    gallery = [item for item in make_gallery() if not item.is_anomaly]
    count = len(gallery)
    scores = ImageScores(["good"] * count, np.zeros(count, dtype=bool), np.ones(count))
    metrics = make_metrics(math.nan, instance_f1_threshold=math.nan, per_defect=[], curves=None)
    page = rendered(make_category(metrics=metrics, gallery=gallery, scores=scores))
    assert "4 good images above the line, 0 defective" in " ".join(page.texts("desc"))
    assert not page.all("span", class_="verdict")


def test_a_benchmark_or_a_category_without_results() -> None:
    page = rendered(missing=["bottle", "cable"])
    assert "2 configured categories have no results" in page.texts("p", role="note")[0]
    assert not page.all("dialog")
    assert not page.all("svg")
    page = rendered(make_category(gallery=[], scores=NO_SCORES))
    assert "There are no scores." in page.texts("p", class_="nothing")
    assert "Test images" not in page.texts("h3")
