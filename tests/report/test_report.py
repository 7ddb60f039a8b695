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
    ImageScores,
    published_baseline,
    render_report,
)


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
