"""The asset graph of one configuration: its categories become the partitions."""

from __future__ import annotations

import dagster as dg

from patchcore_assets.assets.benchmark_report import benchmark_report
from patchcore_assets.assets.category_metrics import category_metrics
from patchcore_assets.assets.faiss_index import faiss_index
from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.assets.memory_bank import memory_bank
from patchcore_assets.assets.metrics import metrics
from patchcore_assets.assets.observed_inputs import observed_inputs
from patchcore_assets.assets.raw_embeddings import raw_embeddings
from patchcore_assets.assets.test_predictions import test_predictions
from patchcore_assets.automation.conditions import (
    automation_sensor,
    condition_of_category,
    condition_of_summary,
)
from patchcore_assets.automation.waves import (
    BENCHMARK_JOB,
    SUMMARY_JOB,
    rebenchmark_schedule,
    summary_sensor,
)
from patchcore_assets.inputs.watch import watch_sensor
from patchcore_assets.step.checks import by_category as checks_by_category
from patchcore_assets.step.one_category import ONE_CATEGORY_A_RUN
from patchcore_assets.step.pools import with_pool
from patchcore_assets.step.resource import Benchmark
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
# What automation may rebuild in one run; see `patchcore_assets.automation.conditions`.
_AFTER_THE_MANIFEST = frozenset(asset.key for asset in BY_CATEGORY[1:])


def define(config: BenchmarkConfig) -> dg.Definitions:
    """Define the assets of a benchmark.

    Steps share one process by default: torch is imported once, and what one step has loaded into
    the page cache serves the next. Categories are the unit of parallel work, as runs.

    Raises
    ------
    ConfigError
        If `schedule.cron` is no cron expression.
    """
    partitions = dg.StaticPartitionsDefinition(list(config.categories))
    by_category = dg.map_asset_specs(
        lambda spec: spec.replace_attributes(
            partitions_def=partitions,
            automation_condition=condition_of_category(_AFTER_THE_MANIFEST),
        ),
        [
            checks_by_category(with_pool(asset, config.runtime), partitions).with_attributes(
                backfill_policy=ONE_CATEGORY_A_RUN
            )
            for asset in BY_CATEGORY
        ],
    )
    over_all = dg.map_asset_specs(
        lambda spec: spec.replace_attributes(
            automation_condition=condition_of_summary({metrics.key})
        ),
        OVER_ALL,
    )
    interval = config.schedule.seconds_between_looks
    return dg.Definitions(
        assets=[*observed_inputs(partitions), *by_category, *over_all],
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
        schedules=[rebenchmark_schedule(config)],
        sensors=[
            watch_sensor(config),
            automation_sensor([*BY_CATEGORY, *OVER_ALL], interval),
            summary_sensor(interval),
        ],
        resources={"benchmark": Benchmark(config_path=str(config.path))},
        executor=dg.in_process_executor,
    )
