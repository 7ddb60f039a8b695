"""The parts of the report: pictures, the choice of images, published figures."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from report_samples import (
    Page,
    figures,
    make_category,
    make_gallery,
    make_metrics,
    make_report,
    picture_of,
)

from patchcore_ops.config.recorded_settings import flatten
from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.category import METRICS, category_metrics
from patchcore_ops.report import choose_items, published_baseline, render_report
from patchcore_ops.report.baselines import baselines
from patchcore_ops.report.by_category import beside_published, category_bars
from patchcore_ops.report.columns import CHARTED, COLUMN_OF
from patchcore_ops.report.encode import MAX_SIDE, outline_uri, picture_uri
from patchcore_ops.report.gallery import GALLERY_LIMIT, gallery_limit
from patchcore_ops.report.tables import defect_table, summary_table


def test_size_and_number_of_pictures_are_limited() -> None:
    """Fifteen categories stay below ten megabytes, even of noise, which compresses worst."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    gallery = [
        dataclasses.replace(item, image=noise, heat=noise // 2)
        for item in make_gallery(GALLERY_LIMIT + 5, side=256)
    ]
    report = make_report(make_category(gallery=gallery))
    page = Page(markup := render_report(report))
    assert len(page.all("li", class_="card")) == GALLERY_LIMIT
    assert picture_of(page.all("img", data_role="image")[0]["src"]).size == (MAX_SIDE, MAX_SIDE)
    assert 15 * len(markup.encode()) < 10_000_000
    assert len(Page(render_report(report, limit=5)).all("li", class_="card")) == 5
    limits = [gallery_limit(count) for count in (0, 1, 15, 16, 30, 60, 500)]
    assert limits == [*[GALLERY_LIMIT] * 3, 22, 12, 6, 6]


def test_pictures_keep_their_shape() -> None:
    wide = np.full((100, 400, 3), (200, 20, 20), dtype=np.uint8)
    image = picture_of(picture_uri(wide))
    # As many pixels as a square has.
    assert image.size == (2 * MAX_SIDE, MAX_SIDE // 2)
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


def test_configuration_is_flattened_by_path() -> None:
    nested = {"a": {"members": [{"layers": ["x", "y"]}, {"layers": []}]}, "b": None}
    assert list(flatten(nested)) == [
        ("a.members.0.layers", "[x, y]"),
        ("a.members.1.layers", "[]"),
        ("b", "None"),
    ]


def test_bars_of_all_metrics_begin_at_one_floor() -> None:
    summary = figures(bottle=0.93, cable=0.97, own_part=0.5)
    bars = category_bars(summary, published_baseline())
    assert list(bars.drawings) == list(CHARTED)
    assert bars.floor == pytest.approx(0.45)
    for drawing in bars.drawings.values():
        page = Page(str(drawing))
        assert len(page.all("rect", class_="bar")) == 3
        # The published table has bottle and cable, but not the own part.
        assert len(page.all("line", class_="published")) == 2
    assert not category_bars(summary, None).drawings["aupro"].count("published")


def test_table_beside_published_figures_has_signed_differences() -> None:
    published = published_baseline()
    bottle = published.set_index("category").loc["bottle"]
    table = beside_published(figures(bottle=0.93, own_part=0.5), published).set_index("category")
    for name in CHARTED:
        difference = f"{100 * (0.93 - bottle[name]):+.2f}".replace("-", "−")
        assert table.loc["bottle", COLUMN_OF[name].full_title] == f"93.00 ({difference})"
    assert set(table.loc["own_part"]) == {"50.00"}
    # The two means are over different categories.
    assert set(table.loc["Mean"]) == {"71.50"}
    without_masks = published.assign(
        aupro=published["aupro"].where(published["category"] != "screw")
    )
    whole = beside_published(without_masks, published).set_index("category")
    assert whole.loc["Mean", "Image AUROC"].endswith("(±0.00)")
    assert whole.loc["Mean", "Pixel AUPRO"] == "94.37"
    none = beside_published(published.assign(aupro=math.nan), published).set_index("category")
    assert none.loc["Mean", "Pixel AUPRO"] == "—"


def test_a_defect_type_lacks_what_its_category_lacks_for_the_same_reason() -> None:
    notes = {"aupimo": "there are no normal test images"}
    entry = {"defect_type": "crack", "images": 4, **dict.fromkeys(METRICS, 0.9), "aupimo": math.nan}
    category = make_category(metrics=make_metrics(notes=notes, per_defect=[entry]))
    assert defect_table(category).notes == [("crack, pixel AUPIMO", notes["aupimo"])]


def test_a_defect_type_without_a_figure_is_not_said_to_have_no_mask() -> None:
    # Of each there is a mask: that of the first is cut off, and that of the second is all white.
    labels = ["good", "cut", "outside", "whole"]
    levels = np.zeros((4, 8, 8), dtype=np.uint8)
    levels[1, :2], levels[3] = 255, 255
    predictions = pd.DataFrame(
        {
            "path": [f"{label}.png" for label in labels],
            "label": labels,
            "is_anomaly": [False, True, True, True],
            "score": [0.1, 0.9, 0.8, 0.7],
        }
    )
    maps = np.random.default_rng(0).random(levels.shape, dtype=np.float32)
    found = category_metrics(predictions, maps, levels, np.ones(4, dtype=bool), MetricsSection())
    notes = dict(defect_table(make_category(metrics=found)).notes)
    reason = "no image of this defect type has a mask that marks a part of it"
    assert {name: text for name, text in notes.items() if "AUPIMO" not in name} == {
        "outside, pixel AUROC; AUROC, defective images; AUPRO; AUPRO 5 %; AP; F1 max": reason,
        "whole, pixel AUROC, defective images": reason,
    }


def test_difference_of_means_says_how_many_categories_have_the_figure() -> None:
    without_masks = make_category("b", metrics=make_metrics(aupro=math.nan))
    report = make_report(make_category("a"), without_masks, previous=figures(a=0.8, b=0.7))
    table = summary_table(report, baselines(report), {})
    assert table.mean is not None
    names = [column.name for column in table.columns]
    of_column = dict(zip(names, table.mean.cells, strict=True))
    for name, points, scope in (("aupro", "+10.00", "1 of 2"), ("pixel_ap", "+15.00", "")):
        (difference,) = of_column[name].differences
        assert (difference.text, difference.scope) == (points, scope)
        assert f"(over {scope or 'all'} categories)" in difference.title
