"""`benchmark_report`: the whole benchmark on one page."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.metrics import metrics
from patchcore_assets.benchmark import Benchmark, Work
from patchcore_assets.presentation import number

if TYPE_CHECKING:
    from patchcore_ops.report.contents import CategoryReport


@dg.asset(deps=[metrics], group_name="benchmark", kinds={"html"}, code_version="1")
def benchmark_report(
    context: dg.AssetExecutionContext, benchmark: Benchmark
) -> dg.MaterializeResult[Any]:
    """One self-contained HTML page: the table, curves, galleries, configuration and provenance."""
    import pandas as pd

    from patchcore_ops.history import previous_wave
    from patchcore_ops.provenance import environment
    from patchcore_ops.report.contents import BenchmarkReport
    from patchcore_ops.report.gallery import gallery_limit
    from patchcore_ops.report.published import published_baseline
    from patchcore_ops.report.render import render_report
    from patchcore_ops.stages.layout import HISTORY, METRICS_PARQUET, REPORT

    with benchmark.work(context) as work:
        present, absent = work.require_any("category_metrics")
        tables = work.read("metrics")
        summary = pd.read_parquet(tables / METRICS_PARQUET)
        history = pd.read_parquet(tables / HISTORY) if (tables / HISTORY).is_file() else None
        progress = work.progress("categories in the report")
        categories = []
        for category in present:
            categories.append(_of_category(work, category, gallery_limit(len(present))))
            progress(len(categories), len(present))
        page = render_report(
            BenchmarkReport(
                title=work.config.path.stem,
                created=datetime.now(UTC),
                summary=summary,
                previous=None if history is None else previous_wave(history),
                published=published_baseline(),
                missing=absent,
                categories=categories,
                provenance={**environment(), "configuration": work.config.path.name},
            )
        )
        (work.output / REPORT).write_text(page, encoding="utf-8")
        mean = summary.iloc[-1]
        return work.finish(
            {
                "page": dg.MetadataValue.path(f"{work.location}/{REPORT}"),
                "mean_instance_auroc": number(mean["instance_auroc"]),
                "mean_aupro": number(mean["aupro"]),
                "categories": len(present),
                "missing_categories": dg.MetadataValue.json(absent),
            }
        )


def _of_category(work: Work, category: str, shown_images: int) -> "CategoryReport":
    from patchcore_ops.stages.evaluate import read_metrics
    from patchcore_ops.stages.layout import read_manifest, test_rows
    from patchcore_ops.stages.summarise import category_report

    predictions = work.open("test_predictions", category)
    metrics_of_category = work.open("category_metrics", category)
    return category_report(
        category,
        test_rows(read_manifest(work.read("image_manifest", category))),
        work.config.dataset_root,
        predictions.folder,
        read_metrics(metrics_of_category.folder),
        work.config.for_category(category),
        metrics_of_category.lineage,
        shown_images,
    )
