"""`tracked_results`: the results of each wave, sent to the configured trackers."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.category_metrics import CATEGORY_METRICS
from patchcore_assets.assets.memory_bank import MEMORY_BANK
from patchcore_assets.assets.metrics import METRICS
from patchcore_assets.assets.model import MODEL
from patchcore_assets.assets.test_predictions import TEST_PREDICTIONS
from patchcore_assets.automation.conditions import rebuild_after_the_last_category
from patchcore_assets.step.artefact_settings import settings_of
from patchcore_assets.step.presentation import table
from patchcore_assets.step.reasons import plain_reason
from patchcore_assets.step.resource import Benchmark
from patchcore_assets.step.run_figures import figures_of
from patchcore_assets.step.work import Work
from patchcore_assets.storage import Artefact, is_transient
from patchcore_ops.config import BenchmarkConfig

if TYPE_CHECKING:
    from patchcore_assets.step.deliveries import Report
    from patchcore_ops.tracking.record import Record
    from patchcore_ops.tracking.wave import Measured

TRACKED_RESULTS = "tracked_results"
# Figures of other assets, beside their seconds, and what trackers call them.
_FIGURES = {MEMORY_BANK: {"picks": "bank_rows", "coverage_radius": "coverage_radius"}}


def tracked_results(config: BenchmarkConfig) -> dg.AssetsDefinition | None:
    """Define the asset, if the configuration has trackers."""
    if not config.tracking:
        return None

    @dg.asset(
        name=TRACKED_RESULTS,
        deps=[METRICS],
        group_name="benchmark",
        kinds={tracker.kind for tracker in config.tracking},
        code_version="1",
        automation_condition=rebuild_after_the_last_category(),
    )
    def compute(
        context: dg.AssetExecutionContext, benchmark: Benchmark
    ) -> dg.MaterializeResult[Any]:
        """What each wave has measured, in W&B, MLflow or TensorBoard.

        Metrics, settings, versions, seconds, pictures and models of each category, and the mean. A
        tracker that is down does not fail it: what it did not take waits in the storage, and is
        sent with the next wave.
        """
        from patchcore_assets.step.deliveries import (
            DELIVERIES,
            Sent,
            deliver,
            read_deliveries,
            write_deliveries,
        )

        with benchmark.work(context) as work, ExitStack() as opened:
            gathered = _Gathered(work, context.instance, opened)
            record = gathered.record()
            reports = deliver(
                work.store,
                work.config.tracking,
                read_deliveries(work.earlier()),
                Sent(record, gathered.pictures, gathered.models),
                context.log.warning,
            )
            write_deliveries(work.output, reports)
            return work.finish(
                {
                    "wave": record.wave,
                    "group": record.group,
                    "trackers": table(_table(reports)),
                    "waves_waiting": sum(len(report.waiting) for report in reports),
                    "places": dg.MetadataValue.json(
                        {report.tracker: report.place for report in reports if report.place}
                    ),
                },
                unversioned=[DELIVERIES],
            )

    return compute


class _Gathered:
    """What belongs to the table of the wave; its artefacts stay open until all is sent."""

    def __init__(self, work: Work, instance: dg.DagsterInstance, opened: ExitStack) -> None:
        self._work = work
        self._instance = instance
        self._opened = opened
        self.pictures: dict[str, list[Path]] = {}
        self.models: dict[str, Path] = {}

    def record(self) -> "Record":
        """Gather the record of the wave that made the table."""
        import pandas as pd

        from patchcore_ops.metrics.category import MEAN
        from patchcore_ops.metrics.history import WAVE
        from patchcore_ops.stages.layout import HISTORY, METRICS_PARQUET
        from patchcore_ops.stages.provenance import environment
        from patchcore_ops.tracking.wave import record_of_wave

        tables = self._work.read(METRICS)
        lineage = self._work.lineage(METRICS)
        summary = pd.read_parquet(tables / METRICS_PARQUET)
        wave = str(pd.read_parquet(tables / HISTORY)[WAVE].iloc[-1])
        names = [str(name) for name in summary["category"] if name != MEAN]
        measured = {name: one for name in names if (one := self._measured(name)) is not None}
        return record_of_wave(
            wave,
            lineage[f"{METRICS}.made"],
            lineage[f"{METRICS}.data_version"],
            summary,
            measured,
            environment(),
        )

    def _measured(self, category: str) -> "Measured | None":
        """Gather what is known of a category; what cannot be read costs this category alone."""
        from patchcore_ops.stages.category_metrics import read_metrics
        from patchcore_ops.stages.layout import PICTURES
        from patchcore_ops.tracking.wave import Measured

        metrics = self._open(CATEGORY_METRICS, category)
        if metrics is None:
            return None
        if (predictions := self._open(TEST_PREDICTIONS, category)) is not None:
            self.pictures[category] = sorted((predictions.folder / PICTURES).glob("*.jpg"))
        model = self._open(MODEL, category) if self._sends_models(category) else None
        if model is not None:
            self.models[category] = model.folder
        lineage: Mapping[str, str] = metrics.lineage
        return Measured(
            read_metrics(metrics.folder),
            settings_of(metrics),
            lineage,
            figures_of(self._instance, category, lineage, _FIGURES),
            "" if model is None else model.data_version,
        )

    def _sends_models(self, category: str) -> bool:
        wanted = any(one.models and one.kind != "tensorboard" for one in self._work.config.tracking)
        return wanted and category in self._work.store.categories(MODEL)

    def _open(self, asset: str, category: str) -> Artefact | None:
        """Open an artefact that belongs to the table; None, with a warning, if there is none."""
        try:
            return self._opened.enter_context(self._work.opened(asset, category))
        except Exception as error:
            if is_transient(error):
                raise
            self._work.warn(f"{asset} of '{category}' is not sent: {plain_reason(error)}")
            return None


def _table(reports: "list[Report]") -> Any:
    import pandas as pd

    return pd.DataFrame(
        {
            "tracker": [report.tracker for report in reports],
            "waves_sent": [report.sent for report in reports],
            "waves_waiting": [len(report.waiting) for report in reports],
            "problem": [report.problem or "none" for report in reports],
        }
    )
