"""`benchmark_report`: the whole benchmark on one page."""

from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.category_metrics import CATEGORY_METRICS
from patchcore_assets.assets.inspections import INSPECTIONS
from patchcore_assets.assets.metrics import METRICS
from patchcore_assets.assets.test_predictions import TEST_PREDICTIONS
from patchcore_assets.automation.conditions import rebuild_after_the_last_category
from patchcore_assets.partitions import Partition
from patchcore_assets.step.artefact_settings import settings_of
from patchcore_assets.step.lineage import code_versions
from patchcore_assets.step.presentation import number, place
from patchcore_assets.step.reasons import plain_reason
from patchcore_assets.step.resource import Benchmark
from patchcore_assets.step.work import Work
from patchcore_assets.storage import DamagedArtefact, MissingArtefact, is_transient
from patchcore_ops.config import BenchmarkConfig

if TYPE_CHECKING:
    from patchcore_ops.report.contents import CategoryReport, FailedCategory, InspectedDay

BENCHMARK_REPORT = "benchmark_report"
# Rows of the table of inspections, and days of a category, at most.
_INSPECTED_ROWS, _INSPECTED_DAYS = 200, 7


def benchmark_report(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=BENCHMARK_REPORT,
        deps=[METRICS],
        group_name="benchmark",
        kinds={"html"},
        code_version="2",
        automation_condition=rebuild_after_the_last_category(),
    )
    def compute(
        context: dg.AssetExecutionContext, benchmark: Benchmark
    ) -> dg.MaterializeResult[Any]:
        """One self-contained HTML page: the table, curves, galleries, configuration and provenance.

        It shows the categories of the table, each with the settings, versions and dates of its
        figures.
        """
        import pandas as pd

        from patchcore_ops.config.recorded_settings import read_settings_by_category
        from patchcore_ops.config.settings_notes import (
            changed_since,
            changes_in_words,
            notes_on_mean,
        )
        from patchcore_ops.metrics.category import MEAN
        from patchcore_ops.metrics.history import previous_wave
        from patchcore_ops.metrics.published import published_baseline
        from patchcore_ops.report.contents import BenchmarkReport, CategoryReport, FailedCategory
        from patchcore_ops.report.gallery import gallery_limit
        from patchcore_ops.report.render import render_report
        from patchcore_ops.stages.layout import HISTORY, METRICS_PARQUET, REPORT
        from patchcore_ops.stages.provenance import environment

        with benchmark.work(context) as work:
            tables = work.read(METRICS)
            summary = pd.read_parquet(tables / METRICS_PARQUET)
            history = pd.read_parquet(tables / HISTORY) if (tables / HISTORY).is_file() else None
            names = [str(name) for name in summary["category"] if name != MEAN]
            used = read_settings_by_category(tables)
            changed = changed_since(used, {name: work.recorded_now(name) for name in used})
            changes = {name: changes_in_words(differences) for name, differences in changed.items()}
            progress = work.progress("categories in the report")
            sections = []
            for name in names:
                sections.append(
                    _section(work, name, changes.get(name, ""), gallery_limit(len(names)))
                )
                progress(len(sections), len(names))
            missing = [name for name in work.config.categories if name not in names]
            failed = [one for one in sections if isinstance(one, FailedCategory)]
            shown = [one for one in sections if isinstance(one, CategoryReport)]
            applied = {one.name: bool(one.metrics["reference_masks_applied"]) for one in shown}
            code = {one.name: one.code for one in shown}
            page = render_report(
                BenchmarkReport(
                    title=PurePath(work.config.path).stem,
                    created=datetime.now(UTC),
                    summary=summary,
                    previous=None if history is None else previous_wave(history),
                    published=published_baseline(),
                    missing=missing,
                    categories=shown,
                    failed=failed,
                    changes=changes,
                    notes=notes_on_mean(used, applied, code),
                    inspections=_inspections(work),
                    provenance={**environment(), "configuration": PurePath(work.config.path).name},
                )
            )
            (work.output / REPORT).write_text(page, encoding="utf-8")
            mean = summary.iloc[-1]
            return work.finish(
                {
                    "page": place(f"{work.location}/{REPORT}"),
                    "mean_instance_auroc": number(mean["instance_auroc"]),
                    "mean_aupro": number(mean["aupro"]),
                    "categories": len(names),
                    "missing_categories": dg.MetadataValue.json(missing),
                    "categories_without_section": dg.MetadataValue.json(
                        {one.name: one.reason for one in failed}
                    ),
                }
            )

    return compute


def _section(
    work: Work, category: str, changes: str, shown_images: int
) -> "CategoryReport | FailedCategory":
    """Gather a category's section; an error costs this section alone."""
    from patchcore_ops.report.contents import FailedCategory

    try:
        return _of_category(work, category, changes, shown_images)
    except Exception as error:
        if is_transient(error):
            raise
        reason = plain_reason(error)
        work.warn(f"the report has no section of '{category}': {reason}")
        return FailedCategory(category, reason)


def _of_category(work: Work, category: str, changes: str, shown_images: int) -> "CategoryReport":
    from dataclasses import replace

    from patchcore_ops.config.recorded_settings import apply
    from patchcore_ops.config.sections import CategoryConfig
    from patchcore_ops.stages.benchmark_report import category_report
    from patchcore_ops.stages.category_metrics import read_metrics

    with (
        work.opened(TEST_PREDICTIONS, category) as predictions,
        work.opened(CATEGORY_METRICS, category) as metrics_of_category,
    ):
        recorded = settings_of(metrics_of_category)
        configured = work.config.by_category.get(category, CategoryConfig())
        report = category_report(
            category,
            work.config.dataset_root,
            predictions.folder,
            read_metrics(metrics_of_category.folder),
            apply(configured, recorded),
            recorded,
            metrics_of_category.lineage,
            shown_images,
            work.hash_of,
        )
        return replace(report, changes=changes, code=code_versions(metrics_of_category.lineage))


def _inspections(work: Work) -> "list[InspectedDay]":
    """Read the figures of the latest days of each category.

    The report does not depend on the inspections: they say nothing of the benchmark, and each day
    would make it stale.
    """
    from patchcore_ops.inspection.day_table import SUMMARY, read_figures
    from patchcore_ops.report.contents import InspectedDay

    if work.config.inbox is None:
        return []
    shown = []
    most = max(1, min(_INSPECTED_DAYS, _INSPECTED_ROWS // len(work.config.categories)))
    for category in work.config.categories:
        for day in reversed(work.store.days(INSPECTIONS, category)[-most:]):
            place = Partition(category, day).place
            try:
                with work.store.open(INSPECTIONS, place, only=[SUMMARY]) as artefact:
                    shown.append(InspectedDay(category, day, read_figures(artefact.folder)))
            except (MissingArtefact, DamagedArtefact) as problem:
                work.warn(f"the report leaves out a day: {problem}")
    return shown
