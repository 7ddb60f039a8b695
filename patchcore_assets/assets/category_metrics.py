"""`category_metrics`: how good the predictions of one category are."""

import dagster as dg

from patchcore_assets.assets.test_predictions import test_predictions
from patchcore_assets.inputs.versions import METRICS_CONFIG
from patchcore_assets.step.checks import CheckedResult, specs
from patchcore_assets.step.presentation import charts, glance, number, table
from patchcore_assets.step.resource import Benchmark

_SEEN_WHOLE = ["defect_type", "images", "instance_auroc", "aupro"]


@dg.asset(
    deps=[test_predictions, METRICS_CONFIG],
    group_name="evaluation",
    kinds={"numpy"},
    code_version="2",
    check_specs=specs("category_metrics"),
)
def category_metrics(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
    """AUROC, AUPRO, average precision and best F1 of a category, and each defect type's own."""
    import pandas as pd

    from patchcore_ops.checks import lost_defects, published, regression
    from patchcore_ops.metrics.category import METRICS
    from patchcore_ops.report.charts.curves import metric_curves
    from patchcore_ops.report.charts.glance import glance_curves
    from patchcore_ops.stages.category_metrics import evaluate
    from patchcore_ops.stages.layout import COMPARED_SCORES

    with benchmark.work(context) as work:
        predictions = work.read("test_predictions")
        result = evaluate(
            work.category,
            work.config.dataset_root,
            predictions,
            work.settings,
            work.runtime,
            work.output,
            work.hash_of,
        )
        judged = regression.keep_for_comparison(
            result, predictions, work.settings.metrics, work.output
        )
        before = regression.read_judged(work.earlier())
        per_defect = pd.DataFrame(result["per_defect"], columns=["defect_type", "images", *METRICS])
        return work.finish(
            {
                **{name: number(result[name]) for name in METRICS},
                "undefined": dg.MetadataValue.json(result["notes"]),
                "roc_and_pro": glance("ROC and PRO curves", glance_curves(result)),
                "roc_and_pro_with_axes": charts(
                    metric_curves(result["curves"], work.settings.metrics.aupro_fpr_limit)
                ),
                "defect_types": table(per_defect[_SEEN_WHOLE]),
                "per_defect": table(per_defect),
                "test_images": result["images"],
                "defective_images": result["anomalous_images"],
            },
            unversioned=[COMPARED_SCORES],
            findings={
                "no_marked_defect_is_lost": lost_defects.no_marked_defect_is_lost(result),
                "metrics_did_not_drop": regression.metrics_did_not_drop(
                    before, judged, work.settings.checks
                ),
                "published_figures_are_reached": published.published_figures_are_reached(
                    work.category, result, work.settings
                ),
            },
        )
