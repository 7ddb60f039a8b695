"""`category_metrics`: how good the predictions of one category are."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.assets.test_predictions import test_predictions
from patchcore_assets.benchmark import Benchmark
from patchcore_assets.inputs import METRICS_CONFIG
from patchcore_assets.presentation import number, table


@dg.asset(
    deps=[image_manifest, test_predictions, METRICS_CONFIG],
    group_name="evaluation",
    kinds={"numpy", "scikitlearn"},
    code_version="1",
)
def category_metrics(
    context: dg.AssetExecutionContext, benchmark: Benchmark
) -> dg.MaterializeResult[Any]:
    """AUROC, AUPRO, average precision and best F1 of a category, and each defect type's own."""
    import pandas as pd

    from patchcore_ops.metrics import METRICS
    from patchcore_ops.stages.evaluate import evaluate
    from patchcore_ops.stages.layout import read_manifest, test_rows

    with benchmark.work(context) as work:
        result = evaluate(
            work.category,
            test_rows(read_manifest(work.read("image_manifest"))),
            work.config.dataset_root,
            work.read("test_predictions"),
            work.settings,
            work.runtime,
            work.output,
        )
        return work.finish(
            {
                **{name: number(result[name]) for name in METRICS},
                "undefined": dg.MetadataValue.json(result["notes"]),
                "per_defect": table(pd.DataFrame(result["per_defect"])),
                "test_images": result["images"],
                "defective_images": result["anomalous_images"],
            }
        )
