"""`faiss_index`: the memory bank, ready for search."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.by_category import by_category
from patchcore_assets.assets.memory_bank import MEMORY_BANK
from patchcore_assets.inputs.versions import INDEX_CONFIG
from patchcore_assets.pools import CPU_HEAVY
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig

FAISS_INDEX = "faiss_index"
_LESS_MEMORY = "lower coreset.percentage, or choose a smaller index.factory"


def faiss_index(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=FAISS_INDEX,
        deps=[MEMORY_BANK, INDEX_CONFIG],
        group_name="memory",
        kinds={"faiss"},
        code_version="1",
        pool=CPU_HEAVY,
        **by_category(config),
    )
    def compute(
        context: dg.AssetExecutionContext, benchmark: Benchmark
    ) -> dg.MaterializeResult[Any]:
        """The FAISS index over the memory bank, built from the configured factory string."""
        from patchcore_ops.stages.faiss_index import index_memory_bank

        with benchmark.work(context, less_memory=_LESS_MEMORY) as work:
            bank = work.read(MEMORY_BANK)
            if not work.takes_over():
                index_memory_bank(bank, work.settings, work.output)
            members = len(work.settings.embedding.members)
            return work.finish({"members": members, "factory": work.settings.index.factory})

    return compute
