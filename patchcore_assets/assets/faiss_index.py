"""`faiss_index`: the memory bank, ready for search."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.memory_bank import memory_bank
from patchcore_assets.inputs.versions import INDEX_CONFIG
from patchcore_assets.step.resource import Benchmark


@dg.asset(deps=[memory_bank, INDEX_CONFIG], group_name="memory", kinds={"faiss"}, code_version="1")
def faiss_index(
    context: dg.AssetExecutionContext, benchmark: Benchmark
) -> dg.MaterializeResult[Any]:
    """The FAISS index over the memory bank, built from the configured factory string."""
    from patchcore_ops.stages.memory_bank import index_memory_bank

    with benchmark.work(context) as work:
        sizes = index_memory_bank(work.read("memory_bank"), work.settings, work.output)
        return work.finish({"members": len(sizes), "factory": work.settings.index.factory})
