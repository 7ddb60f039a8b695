"""The asset graph of one configuration: its categories become the partitions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import dagster as dg

from patchcore_assets.assets.benchmark_report import BENCHMARK_REPORT, benchmark_report
from patchcore_assets.assets.category_metrics import CATEGORY_METRICS, category_metrics
from patchcore_assets.assets.evaluation import EVALUATION, evaluation
from patchcore_assets.assets.faiss_index import faiss_index
from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.assets.inspections import INSPECTIONS, inspections
from patchcore_assets.assets.memory_bank import memory_bank
from patchcore_assets.assets.metrics import metrics
from patchcore_assets.assets.model import MODEL, model
from patchcore_assets.assets.observed_inputs import observed_inputs
from patchcore_assets.assets.raw_embeddings import raw_embeddings
from patchcore_assets.assets.score_calibration import score_calibration
from patchcore_assets.assets.test_predictions import test_predictions
from patchcore_assets.assets.tracked_results import tracked_results
from patchcore_assets.automation.backfills import BENCHMARK_JOB
from patchcore_assets.automation.conditions import automation_sensor
from patchcore_assets.automation.inbox import inbox_sensor
from patchcore_assets.automation.waves import SUMMARY_JOB, rebenchmark_schedule, summary_sensor
from patchcore_assets.executor import executor
from patchcore_assets.inputs.launched import RESOURCE
from patchcore_assets.inputs.watch import watch_sensor
from patchcore_assets.pools import tags_of_runs
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.results_hash import results_hash

EVALUATION_JOB = "evaluation_job"
INSPECTIONS_JOB = "inspections_job"
# In the order of the data; what a configuration does not ask for, its function leaves out.
ASSETS: tuple[Callable[[BenchmarkConfig], dg.AssetsDefinition | None], ...] = (
    image_manifest,
    raw_embeddings,
    memory_bank,
    faiss_index,
    test_predictions,
    category_metrics,
    score_calibration,
    model,
    evaluation,
    inspections,
    metrics,
    benchmark_report,
    tracked_results,
)


def define(config: BenchmarkConfig) -> dg.Definitions:
    """Define the assets, jobs, schedule and sensors of a benchmark.

    Runs are the unit of parallel work, one for each category.

    Raises
    ------
    ConfigError
        If `schedule.cron` is no cron expression, or the file of PATCHCORE_STEP_PODS is unusable.
    """
    with warnings.catch_warnings():
        # Checks with partitions, backfill policies, observable assets and conditions of one's own.
        for category in (dg.PreviewWarning, dg.BetaWarning):
            warnings.simplefilter("ignore", category)
        return _define(config)


def _define(config: BenchmarkConfig) -> dg.Definitions:
    assets = [one for asset in ASSETS if (one := asset(config)) is not None]
    again = [one for one in assets if one.key == dg.AssetKey(EVALUATION)]
    by_day = [one for one in assets if one.key == dg.AssetKey(INSPECTIONS)]
    waves = [one for one in assets if one not in (*again, *by_day)]
    interval = config.schedule.seconds_between_looks
    tags = tags_of_runs(waves)
    return dg.Definitions(
        assets=[*observed_inputs(config), *assets],
        jobs=[
            dg.define_asset_job(
                BENCHMARK_JOB,
                selection=_selected(one for one in waves if one.partitions_def),
                description="Everything for one category, from its images to its metrics.",
                tags=tags,
            ),
            dg.define_asset_job(
                SUMMARY_JOB,
                selection=_selected(one for one in waves if not one.partitions_def),
                description="The table and the report over all categories that have metrics.",
            ),
            *(
                dg.define_asset_job(
                    EVALUATION_JOB,
                    selection=_selected([one]),
                    description="A category's model on the images below `evaluation.dataset`.",
                )
                for one in again
            ),
            *(
                dg.define_asset_job(
                    INSPECTIONS_JOB,
                    selection=_selected([one]),
                    description="Verdicts on the images of a category that arrived on a day.",
                    tags=tags,
                )
                for one in by_day
            ),
        ],
        schedules=[rebenchmark_schedule(config)],
        sensors=[
            watch_sensor(config),
            automation_sensor(_selected([*waves, *again]), interval, tags),
            summary_sensor(interval, dg.AssetKey(CATEGORY_METRICS), dg.AssetKey(BENCHMARK_REPORT)),
            *(
                inbox_sensor(config, INSPECTIONS_JOB, one.key, dg.AssetKey(MODEL), tags)
                for one in by_day
            ),
        ],
        resources={
            RESOURCE: Benchmark(config_path=config.path, configuration_hash=results_hash(config))
        },
        executor=executor([one.key.to_user_string() for one in assets]),
    )


def _selected(assets: Iterable[dg.AssetsDefinition]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*assets)
