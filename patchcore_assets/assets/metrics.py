"""`metrics`: the table of all categories, as the reference's results.csv."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.category_metrics import category_metrics
from patchcore_assets.benchmark import Benchmark
from patchcore_assets.presentation import number, table


@dg.asset(deps=[category_metrics], group_name="benchmark", kinds={"pandas"}, code_version="1")
def metrics(context: dg.AssetExecutionContext, benchmark: Benchmark) -> dg.MaterializeResult[Any]:
    """The metrics of every category that has them, and their mean.

    It has no partitions: it takes the categories that are there and names those that are not.
    """
    from patchcore_ops.metrics import METRICS
    from patchcore_ops.stages.evaluate import read_metrics, tabulate

    with benchmark.work(context) as work:
        present, absent = work.require_any("category_metrics")
        if absent:
            context.log.warning(f"not in the table yet: {', '.join(absent)}")
        summary = tabulate(
            {name: read_metrics(work.read("category_metrics", name)) for name in present},
            work.output,
        )
        mean = summary.iloc[-1]
        return work.finish(
            {
                **{f"mean_{name}": number(mean[name]) for name in METRICS if "thresh" not in name},
                "categories": len(present),
                "missing_categories": dg.MetadataValue.json(absent),
                "table": table(summary),
            }
        )
