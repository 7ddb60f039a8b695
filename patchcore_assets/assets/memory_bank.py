"""`memory_bank`: the coreset of a category's normal patches."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.raw_embeddings import raw_embeddings
from patchcore_assets.benchmark import Benchmark
from patchcore_assets.inputs import CORESET_CONFIG


@dg.asset(
    deps=[raw_embeddings, CORESET_CONFIG],
    group_name="memory",
    kinds={"pytorch", "numpy"},
    code_version="1",
)
def memory_bank(
    context: dg.AssetExecutionContext, benchmark: Benchmark
) -> dg.MaterializeResult[Any]:
    """The embeddings that represent normality: a coreset of the train images' patches."""
    from patchcore_ops.stages.select import select_memory_bank

    with benchmark.work(context) as work:
        banks = select_memory_bank(
            work.read("raw_embeddings"),
            work.settings,
            work.runtime,
            work.output,
            work.progress("rows picked"),
        )
        picks = sum(bank.picks for bank in banks)
        return work.finish(
            {
                "members": len(banks),
                "rows": sum(bank.rows for bank in banks),
                "picks": picks,
                "dimension": banks[0].dimension,
                "sampler": work.settings.coreset.sampler,
                "percentage": work.settings.coreset.percentage,
                "picks_per_second": work.per_second(picks),
            }
        )
