"""`category_metrics`: how good the predictions of one category are."""

import dagster as dg

from patchcore_assets.assets.by_category import by_category, categories
from patchcore_assets.assets.test_predictions import TEST_PREDICTIONS
from patchcore_assets.inputs.versions import METRICS_CONFIG
from patchcore_assets.pools import CPU_HEAVY
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.presentation import charts, number, table
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig

CATEGORY_METRICS = "category_metrics"
_SEEN_WHOLE = ["defect_type", "images", "instance_auroc", "aupro"]
_CHECKS = (
    Check(
        "no_marked_defect_is_lost",
        "Of every marked defect something counts as one in the pixel metrics, also by the "
        "reference's rule for masks, which is set aside where it would lose the defect of an "
        "image. Warns.",
    ),
    Check(
        "metrics_did_not_drop",
        "No metric is worse than in the materialisation before by more than "
        "`checks.regression_tolerance`, `instance_auroc` also beyond noise (paired bootstrap over "
        "the test images). Fails or warns as `checks.regression` says.",
    ),
    Check(
        "published_figures_are_reached",
        "No metric is more than `checks.published_tolerance` below the published one, where "
        "category and configuration are the published ones. Fails or warns as "
        "`checks.published` says.",
    ),
)


def category_metrics(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=CATEGORY_METRICS,
        deps=[TEST_PREDICTIONS, METRICS_CONFIG],
        group_name="evaluation",
        kinds={"numpy"},
        code_version="5",
        pool=CPU_HEAVY,
        check_specs=specs(CATEGORY_METRICS, _CHECKS, categories(config)),
        **by_category(config),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """AUROC, AUPRO, average precision and best F1 of a category, and each defect type's own."""
        import pandas as pd

        from patchcore_ops.checks import lost_defects, published, regression
        from patchcore_ops.metrics.category import METRICS
        from patchcore_ops.report.charts.curves import metric_curves
        from patchcore_ops.stages.category_metrics import evaluate
        from patchcore_ops.stages.layout import COMPARED_SCORES

        with benchmark.work(context) as work:
            predictions = work.read(TEST_PREDICTIONS)
            result = evaluate(
                work.category,
                work.config.dataset_root,
                predictions,
                work.settings,
                work.runtime,
                work.output,
                work.hash_of,
            )
            judged = regression.keep_for_comparison(result, predictions, work.settings, work.output)
            before = regression.read_judged(work.earlier())
            per_defect = pd.DataFrame(
                result["per_defect"], columns=["defect_type", "images", *METRICS]
            )
            return work.finish(
                {
                    **{name: number(result[name]) for name in METRICS},
                    "undefined": dg.MetadataValue.json(result["notes"]),
                    "roc_and_pro": charts(
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
                        before, judged, work.settings.checks, work.replaces_own_code()
                    ),
                    "published_figures_are_reached": published.published_figures_are_reached(
                        work.category, result, work.settings
                    ),
                },
            )

    return compute
