"""`metrics`: the table of all categories, as the reference's results.csv."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.category_metrics import CATEGORY_METRICS
from patchcore_assets.automation.conditions import rebuild_after_the_last_category
from patchcore_assets.automation.wave_history import keep_wave
from patchcore_assets.automation.waves import wave_of_run
from patchcore_assets.step.artefact_settings import settings_of
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.lineage import code_versions
from patchcore_assets.step.presentation import charts, number, table
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import StaleArtefact, UserError

if TYPE_CHECKING:
    import pandas as pd

METRICS = "metrics"
_CHECKS = (
    Check("every_category_is_there", "Every configured category has metrics. Warns."),
    Check(
        "settings_are_those_of_now",
        "All figures were made with the settings that the configuration has now. Warns.",
    ),
)


def metrics(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=METRICS,
        deps=[CATEGORY_METRICS],
        group_name="benchmark",
        kinds={"pandas"},
        code_version="2",
        check_specs=specs(METRICS, _CHECKS),
        automation_condition=rebuild_after_the_last_category(),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """The metrics of every category that has them, and their mean.

        It has no partitions: it takes the categories that are there and names those that are not,
        and those whose figures were made with other settings than the configuration has now.
        `history.parquet` keeps what every wave measured, and does not count in the data version.
        """
        from patchcore_ops.checks.table import every_category_is_there, settings_are_those_of_now
        from patchcore_ops.config.recorded_settings import write_settings_by_category
        from patchcore_ops.config.settings_notes import (
            changed_since,
            note_on_changes,
            notes_on_mean,
        )
        from patchcore_ops.metrics.category import METRICS as FIGURES
        from patchcore_ops.stages.category_metrics import read_metrics
        from patchcore_ops.stages.layout import HISTORY, NOTES
        from patchcore_ops.stages.metrics import tabulate

        with benchmark.work(context) as work:
            present, absent = work.require_any(CATEGORY_METRICS)
            measured, used, code, unusable = {}, {}, {}, {}
            for name in present:
                try:
                    with work.opened(CATEGORY_METRICS, name) as artefact:
                        used[name] = settings_of(artefact)
                        measured[name] = read_metrics(artefact.folder)
                        code[name] = code_versions(artefact.lineage)
                except UserError as mistake:
                    unusable[name] = str(mistake)
            if not measured:
                raise StaleArtefact("\n".join(unusable.values()))
            summary = tabulate(measured, work.output)
            write_settings_by_category(work.output, used)
            changed = changed_since(used, {name: work.recorded_now(name) for name in used})
            rules = {name: bool(one["reference_masks_applied"]) for name, one in measured.items()}
            notes = notes_on_mean(used, rules, code)
            if note := note_on_changes(changed):
                notes.insert(0, note)
            (work.output / NOTES).write_text(
                "".join(f"{note}\n" for note in notes), encoding="utf-8"
            )
            waves = keep_wave(
                work.store,
                work.earlier(),
                summary,
                wave_of_run(context.instance, context.run, dg.AssetKey(CATEGORY_METRICS)),
                context.run.run_id,
                work.output,
                context.log.warning,
            )
            mean = summary.iloc[-1]
            return work.finish(
                {
                    **{
                        f"mean_{name}": number(mean[name])
                        for name in FIGURES
                        if "thresh" not in name
                    },
                    "categories": len(measured),
                    "missing_categories": dg.MetadataValue.json([*absent, *unusable]),
                    **_against_published(summary),
                    "table": table(summary),
                    "notes": "; ".join(notes) or "none",
                    "waves_in_history": waves,
                },
                unversioned=[HISTORY, NOTES],
                findings={
                    "every_category_is_there": every_category_is_there(
                        list(measured), absent, unusable
                    ),
                    "settings_are_those_of_now": settings_are_those_of_now(changed),
                },
            )

    return compute


def _against_published(summary: "pd.DataFrame") -> dict[str, dg.MetadataValue[Any]]:
    from patchcore_ops.metrics.published import published_baseline
    from patchcore_ops.report.by_category import beside_published, category_bars
    from patchcore_ops.report.columns import COLUMN_OF

    published = published_baseline()
    drawings = category_bars(summary, published).drawings
    return {
        "against_published": table(beside_published(summary, published)),
        "charts_against_published": charts(
            {
                f"{COLUMN_OF[name].full_title} in percent, published figure as a tick": drawing
                for name, drawing in drawings.items()
            }
        ),
    }
