"""The report as HTML: one file without any request to anywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from patchcore_ops.report import charts, tables
from patchcore_ops.report.baselines import Baseline, baselines, by_category
from patchcore_ops.report.columns import CHARTED, COLUMN_OF, COLUMNS
from patchcore_ops.report.contents import BenchmarkReport, CategoryReport
from patchcore_ops.report.gallery import GALLERY_LIMIT, Card, gallery_cards, label_counts

_PRO_LIMIT = 0.3


@dataclass(frozen=True)
class Chart:
    """A drawing with its caption; `drawing` is None where there is nothing to draw."""

    title: str
    caption: str
    drawing: Markup | None


@dataclass(frozen=True)
class Section:
    """One category, ready for the template."""

    name: str
    anchor: str
    headline: str
    counts: Sequence[str]
    figures: Sequence[tuple[str, Sequence[tables.Figure]]]
    histogram: Chart
    curves: Sequence[Chart]
    defects: tables.Table
    cards: Sequence[Card]
    labels: Sequence[tuple[str, int]]
    images: int
    config: Sequence[tuple[str, str]]
    provenance: Mapping[str, str]


def render_report(report: BenchmarkReport, gallery_limit: int = GALLERY_LIMIT) -> str:
    """Render a report as one self-contained HTML document.

    Every text from `report` is escaped. Pictures are downscaled and embedded; the document loads
    nothing and its content security policy forbids it to.

    Parameters
    ----------
    report : BenchmarkReport
    gallery_limit : int
        Test images shown per category, at most. Each adds about 15 kB.

    Returns
    -------
    str
    """
    compared = baselines(report)
    anchors = _anchors(report.categories)
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            created=report.created.strftime("%Y-%m-%d %H:%M %Z").strip(),
            compared=compared,
            headlines=tables.headline_figures(report, compared),
            summary=tables.summary_table(report, compared, anchors),
            bars=_bars(report, compared),
            has_published=any(baseline.key == "published" for baseline in compared),
            sections=[
                _section(category, anchors[category.name], gallery_limit)
                for category in report.categories
            ],
            columns=COLUMNS,
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("patchcore_ops.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _anchors(categories: Sequence[CategoryReport]) -> dict[str, str]:
    """Give each category an element id; the number keeps names apart that differ in signs only."""
    return {
        category.name: f"category-{at}-{_slug(category.name)}".rstrip("-")
        for at, category in enumerate(categories, start=1)
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _bars(report: BenchmarkReport, compared: Sequence[Baseline]) -> Sequence[Chart]:
    current = by_category(report.summary)
    charted = [COLUMN_OF[name] for name in CHARTED if name in current.columns]
    values = {
        column.name: {
            str(category): float(value) for category, value in current[column.name].items()
        }
        for column in charted
    }
    published = {
        column.name: {category: baseline.value(category, column.name) for category in current.index}
        for column in charted
        for baseline in compared
        if baseline.key == "published"
    }
    everything = [*values.values(), *published.values()]
    floor = charts.axis_floor([value for group in everything for value in group.values()])
    return [
        Chart(
            column.full_title,
            f"in percent; the axis begins at {100 * floor:g}",
            charts.metric_bars(
                f"{column.full_title} by category, in percent",
                values[column.name],
                published.get(column.name, {}),
                floor,
            ),
        )
        for column in charted
        if values[column.name]
    ]


def _section(category: CategoryReport, anchor: str, gallery_limit: int) -> Section:
    threshold = _metric(category, "instance_f1_threshold")
    cards = gallery_cards(category.gallery, threshold, gallery_limit)
    return Section(
        name=category.name,
        anchor=anchor,
        headline=COLUMN_OF["instance_auroc"].text(_metric(category, "instance_auroc")),
        counts=_counts(category.metrics),
        figures=tables.key_figures(category),
        histogram=Chart(
            "Image scores",
            "good images upwards, defective ones downwards",
            charts.score_histogram(category.scores, threshold),
        ),
        curves=_curves(category),
        defects=tables.defect_table(category),
        cards=cards,
        labels=label_counts(cards),
        images=len(category.scores.score),
        config=list(tables.flatten(category.config)),
        provenance=category.provenance,
    )


def _metric(category: CategoryReport, name: str) -> float:
    value = category.metrics.get(name)
    return math.nan if value is None else float(value)


def _counts(metrics: Mapping[str, Any]) -> Sequence[str]:
    named = (
        ("images", "test images"),
        ("anomalous_images", "defective"),
        ("masked_images", "with a ground-truth mask"),
    )
    return [f"{metrics[key]} {text}" for key, text in named if key in metrics]


def _is_drawable(curve: Mapping[str, Any] | None) -> bool:
    if not curve or len(curve["x"]) == 0:
        return False
    return bool(np.isfinite(curve["x"]).all() and np.isfinite(curve["y"]).all())


def _curves(category: CategoryReport) -> Sequence[Chart]:
    curves = category.metrics.get("curves") or {}
    limit = float(category.config.get("metrics", {}).get("aupro_fpr_limit", _PRO_LIMIT))
    described = (
        ("roc", "Image ROC", "instance_auroc", "True-positive rate", None),
        ("pixel_roc", "Pixel ROC", "full_pixel_auroc", "True-positive rate", None),
        ("pro", "Per-region overlap", "aupro", "Mean overlap", limit),
    )
    return [
        Chart(
            title,
            f"{COLUMN_OF[metric].title} {COLUMN_OF[metric].text(_metric(category, metric))}",
            charts.curve_chart(title, curves[key], y_label, limit=shaded)
            if _is_drawable(curves.get(key))
            else None,
        )
        for key, title, metric, y_label, shaded in described
    ]
