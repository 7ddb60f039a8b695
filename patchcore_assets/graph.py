"""The asset graph of one configuration: its categories become the partitions."""

from __future__ import annotations

import dagster as dg

from patchcore_assets.assets.benchmark_report import benchmark_report
from patchcore_assets.assets.category_metrics import category_metrics
from patchcore_assets.assets.faiss_index import faiss_index
from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.assets.memory_bank import memory_bank
from patchcore_assets.assets.metrics import metrics
from patchcore_assets.assets.raw_embeddings import raw_embeddings
from patchcore_assets.assets.test_predictions import test_predictions
from patchcore_assets.benchmark import Benchmark
from patchcore_assets.inputs import observed_inputs
from patchcore_ops.config import BenchmarkConfig

BY_CATEGORY = (
    image_manifest,
    raw_embeddings,
    memory_bank,
    faiss_index,
    test_predictions,
    category_metrics,
)
OVER_ALL = (metrics, benchmark_report)
BENCHMARK_JOB = "benchmark_job"
SUMMARY_JOB = "summary_job"


def define(config: BenchmarkConfig) -> dg.Definitions:
    """Define the assets of a benchmark.

    Steps share one process by default: torch is imported once, and what one step has loaded into
    the page cache serves the next. Categories are the unit of parallel work, as runs.
    """
    partitions = dg.StaticPartitionsDefinition(list(config.categories))
    partitioned = dg.map_asset_specs(
        lambda spec: spec.replace_attributes(partitions_def=partitions), BY_CATEGORY
    )
    return dg.Definitions(
        assets=[*observed_inputs(partitions), *partitioned, *OVER_ALL],
        jobs=[
            dg.define_asset_job(
                BENCHMARK_JOB,
                selection=dg.AssetSelection.assets(*BY_CATEGORY),
                description="Everything for one category, from its images to its metrics.",
            ),
            dg.define_asset_job(
                SUMMARY_JOB,
                selection=dg.AssetSelection.assets(*OVER_ALL),
                description="The table and the report over all categories that have metrics.",
            ),
        ],
        resources={"benchmark": Benchmark(config_path=str(config.path))},
        executor=dg.in_process_executor,
    )
