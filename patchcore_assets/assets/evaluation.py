"""`evaluation`: a category's model on the test images of another dataset."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.by_category import by_category
from patchcore_assets.assets.model import MODEL
from patchcore_assets.inputs.versions import EVALUATED, METRICS_CONFIG
from patchcore_assets.pools import CPU_HEAVY
from patchcore_assets.step.presentation import charts, number, picture, place, table
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import ConfigError

EVALUATION = "evaluation"


def evaluation(config: BenchmarkConfig) -> dg.AssetsDefinition | None:
    """Define the asset for a configuration; None if it evaluates nothing again."""
    if config.evaluation is None:
        return None
    own = [MODEL] if config.evaluation.models is None else []

    @dg.asset(
        name=EVALUATION,
        deps=[*own, EVALUATED, METRICS_CONFIG],
        # Beside the model: it comes after it, and what is in the group `evaluation` before.
        group_name=MODEL,
        kinds={"faiss", "html"},
        code_version="3",
        pool=CPU_HEAVY,
        **by_category(config),
    )
    def compute(
        context: dg.AssetExecutionContext, benchmark: Benchmark
    ) -> dg.MaterializeResult[Any]:
        """The model on the test images below `evaluation.dataset`: scores, metrics, a page."""
        from patchcore_ops.metrics.category import METRICS
        from patchcore_ops.model.predictor import Model
        from patchcore_ops.report.charts.curves import metric_curves
        from patchcore_ops.stages.evaluation import evaluate_model, write_evaluations
        from patchcore_ops.stages.layout import PICTURES, REPORT

        with benchmark.work(context) as work:
            evaluated = work.config.evaluation
            if evaluated is None:
                raise ConfigError(
                    f"{work.config.path}: names no evaluation.dataset any more; put it back, or "
                    "reload the definitions"
                )
            folder = (
                work.read(MODEL) if evaluated.models is None else evaluated.models / work.category
            )
            metrics = work.config.for_category(work.category).metrics
            found = evaluate_model(
                Model.load(folder, work.runtime),
                work.category,
                evaluated.dataset_root,
                metrics,
                work.runtime,
                work.output,
                work.progress("images scored"),
                work.hash_of,
            )
            summary = write_evaluations(
                {work.category: found}, f"{work.category}, evaluated again", work.output
            )
            return work.finish(
                {
                    **{name: number(found.metrics[name]) for name in METRICS},
                    "test_images": found.metrics["images"],
                    "defective_images": found.metrics["anomalous_images"],
                    "ranges_of": found.ranges_of or "none: the members have units, or there is one",
                    "roc_and_pro": charts(
                        metric_curves(found.metrics["curves"], metrics.aupro_fpr_limit)
                    ),
                    "table": table(summary),
                    **{
                        f"{name}_pictures": picture(pixels, name.replace("_", " "))
                        for name, pixels in found.pictures.items()
                    },
                    "page": place(f"{work.location}/{REPORT}"),
                },
                unversioned=[REPORT, *(f"{PICTURES}/{name}.jpg" for name in found.pictures)],
            )

    return compute
