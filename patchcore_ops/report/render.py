"""The report as one HTML file that loads nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from patchcore_ops.config.recorded_settings import flatten
from patchcore_ops.report import tables
from patchcore_ops.report.baselines import baselines
from patchcore_ops.report.by_category import category_bars
from patchcore_ops.report.charts.curves import METRIC_CURVES, metric_curves
from patchcore_ops.report.charts.histogram import score_histogram
from patchcore_ops.report.columns import COLUMN_OF, COLUMNS
from patchcore_ops.report.contents import BenchmarkReport, CategoryReport
from patchcore_ops.report.gallery import gallery_cards, gallery_limit, label_counts

_PRO_LIMIT = 0.3


class Chart(NamedTuple):
    """A drawing with title and caption; where there is nothing to draw, None and why."""

    title: str
    caption: str
    drawing: Markup | None
    reason: str = ""


def render_report(report: BenchmarkReport, limit: int | None = None) -> str:
    """Render a report as one self-contained HTML document.

    Texts are escaped, pictures downscaled and embedded. The content security policy forbids to load
    anything. `limit` is how many test images are shown per category at most, by default see
    `gallery.gallery_limit`; each adds about 12 kB, and never more than 25 kB.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from patchcore_ops.metrics.category import METRICS, summary_table
    >>> summary = summary_table({"nut": dict.fromkeys(METRICS, 0.5)})
    >>> render_report(BenchmarkReport("Nuts", datetime.now(UTC), summary))[:15]
    '<!doctype html>'
    """
    compared = baselines(report)
    names = [*(one.name for one in report.categories), *(one.name for one in report.failed)]
    anchors = _anchors(names)
    shown = gallery_limit(len(report.categories)) if limit is None else limit
    template = _environment().get_template("report.html")
    return template.render(
        report=report,
        created=report.created.strftime("%Y-%m-%d %H:%M %Z").strip(),
        compared=compared,
        headlines=tables.headline_figures(report, compared),
        summary=tables.summary_table(report, compared, anchors),
        bars=_bars(report),
        has_published=any(baseline.key == "published" for baseline in compared),
        sections=[_section(one, anchors[one.name], shown) for one in report.categories],
        failed=[(one.name, anchors[one.name], one.reason) for one in report.failed],
        columns=COLUMNS,
    )


def _environment() -> Environment:
    pages = PackageLoader("patchcore_ops.report", "page")
    charts = PackageLoader("patchcore_ops.report.charts", ".")
    return Environment(
        loader=ChoiceLoader([pages, charts]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _anchors(categories: Sequence[str]) -> dict[str, str]:
    """Give each category an element id; the number keeps names apart that have equal letters."""
    return {
        category: f"category-{at}-{_slug(category)}".rstrip("-")
        for at, category in enumerate(categories, start=1)
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _bars(report: BenchmarkReport) -> list[Chart]:
    bars = category_bars(report.summary, report.published)
    caption = f"in percent; the axis begins at {100 * bars.floor:g}"
    return [
        Chart(COLUMN_OF[metric].full_title, caption, drawing)
        for metric, drawing in bars.drawings.items()
    ]


def _section(category: CategoryReport, anchor: str, limit: int) -> dict[str, Any]:
    """Prepare one category for `category.html`."""
    scores = category.scores
    threshold = _metric(category, "instance_f1_threshold")
    cards = gallery_cards(category.gallery, threshold, limit)
    return {
        "category": category,
        "anchor": anchor,
        "headline": COLUMN_OF["instance_auroc"].text(_metric(category, "instance_auroc")),
        "counts": _counts(category.metrics),
        "figures": tables.key_figures(category),
        "histogram": Chart(
            "Image scores",
            "good images upwards, defective ones downwards",
            score_histogram(scores.score, scores.is_anomaly, threshold),
            "There are no scores.",
        ),
        "curves": _curves(category),
        "defects": tables.defect_table(category),
        "cards": cards,
        "labels": label_counts(cards),
        "images": len(scores.score),
        "config": list(flatten(category.config)),
    }


def _metric(category: CategoryReport, name: str) -> float:
    value = category.metrics.get(name)
    return math.nan if value is None else float(value)


def _counts(metrics: Mapping[str, Any]) -> list[str]:
    named = {
        "images": "test images",
        "anomalous_images": "defective",
        "masked_images": "with a ground-truth mask",
    }
    return [f"{metrics[key]} {text}" for key, text in named.items() if key in metrics]


def _curves(category: CategoryReport) -> list[Chart]:
    limit = float(category.config.get("metrics", {}).get("aupro_fpr_limit", _PRO_LIMIT))
    drawings = metric_curves(category.metrics.get("curves"), limit)
    charts = []
    for curve in METRIC_CURVES:
        column = COLUMN_OF[curve.metric]
        caption = f"{column.title} {column.text(_metric(category, curve.metric))}"
        undefined = (category.metrics.get("notes") or {}).get(curve.metric)
        reason = f"Not defined: {undefined}." if undefined else "The curve was not kept."
        charts.append(Chart(curve.title, caption, drawings[curve.title], reason))
    return charts
