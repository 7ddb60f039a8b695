"""The report as HTML: one file without any request to anywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from patchcore_ops.config.recorded_settings import flatten
from patchcore_ops.report import tables
from patchcore_ops.report.baselines import baselines
from patchcore_ops.report.by_category import category_bars
from patchcore_ops.report.charts.curves import METRIC_CURVES, metric_curves
from patchcore_ops.report.charts.histogram import score_histogram
from patchcore_ops.report.columns import COLUMN_OF, COLUMNS
from patchcore_ops.report.contents import BenchmarkReport, CategoryReport, Origin
from patchcore_ops.report.gallery import Card, gallery_cards, gallery_limit, label_counts

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
    origins: Sequence[Origin]
    provenance: Mapping[str, str]
    made: str
    changes: str


def render_report(report: BenchmarkReport, limit: int | None = None) -> str:
    """Render a report as one self-contained HTML document.

    Every text from `report` is escaped. Pictures are downscaled and embedded; the document loads
    nothing and its content security policy forbids it to.

    Parameters
    ----------
    report : BenchmarkReport
    limit : int, optional
        Test images shown per category, at most; by default see `gallery.gallery_limit`. Each adds
        about 12 kB, and never more than 25 kB.

    Returns
    -------
    str
    """
    compared = baselines(report)
    shown_names = [one.name for one in report.categories]
    anchors = _anchors([*shown_names, *(one.name for one in report.failed)])
    shown = gallery_limit(len(report.categories)) if limit is None else limit
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            created=report.created.strftime("%Y-%m-%d %H:%M %Z").strip(),
            compared=compared,
            headlines=tables.headline_figures(report, compared),
            summary=tables.summary_table(report, compared, anchors),
            bars=_bars(report),
            has_published=any(baseline.key == "published" for baseline in compared),
            sections=[
                _section(category, anchors[category.name], shown) for category in report.categories
            ],
            failed=[(one.name, anchors[one.name], one.reason) for one in report.failed],
            columns=COLUMNS,
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("patchcore_ops.report", "."),
                PackageLoader("patchcore_ops.report.charts", "."),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _anchors(categories: Sequence[str]) -> dict[str, str]:
    """Give each category an element id; the number keeps names apart that differ in signs only."""
    return {
        category: f"category-{at}-{_slug(category)}".rstrip("-")
        for at, category in enumerate(categories, start=1)
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _bars(report: BenchmarkReport) -> Sequence[Chart]:
    bars = category_bars(report.summary, report.published)
    return [
        Chart(
            COLUMN_OF[metric].full_title,
            f"in percent; the axis begins at {100 * bars.floor:g}",
            drawing,
        )
        for metric, drawing in bars.drawings.items()
    ]


def _section(category: CategoryReport, anchor: str, limit: int) -> Section:
    threshold = _metric(category, "instance_f1_threshold")
    cards = gallery_cards(category.gallery, threshold, limit)
    return Section(
        name=category.name,
        anchor=anchor,
        headline=COLUMN_OF["instance_auroc"].text(_metric(category, "instance_auroc")),
        counts=_counts(category.metrics),
        figures=tables.key_figures(category),
        histogram=Chart(
            "Image scores",
            "good images upwards, defective ones downwards",
            score_histogram(category.scores.score, category.scores.is_anomaly, threshold),
        ),
        curves=_curves(category),
        defects=tables.defect_table(category),
        cards=cards,
        labels=label_counts(cards),
        images=len(category.scores.score),
        config=list(flatten(category.config)),
        origins=category.origins,
        provenance=category.provenance,
        made=category.made,
        changes=category.changes,
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


def _curves(category: CategoryReport) -> Sequence[Chart]:
    limit = float(category.config.get("metrics", {}).get("aupro_fpr_limit", _PRO_LIMIT))
    drawings = metric_curves(category.metrics.get("curves"), limit)
    return [
        Chart(
            curve.title,
            f"{COLUMN_OF[curve.metric].title} "
            f"{COLUMN_OF[curve.metric].text(_metric(category, curve.metric))}",
            drawings[curve.title],
        )
        for curve in METRIC_CURVES
    ]
