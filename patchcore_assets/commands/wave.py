"""One wave in this process: a Dagster run for each category, then one for the table and report.

A category that fails does not stop the others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml

from patchcore_assets.assets.benchmark_report import BENCHMARK_REPORT
from patchcore_assets.assets.metrics import METRICS
from patchcore_assets.automation.backfills import BENCHMARK_JOB, new_wave_name
from patchcore_assets.automation.waves import SUMMARY_JOB, WAVE
from patchcore_assets.commands.run_log import RUN_LOG, run_log
from patchcore_assets.graph import define
from patchcore_assets.step.configuration import tags_of_configuration
from patchcore_assets.step.reasons import reason_of, succeeded
from patchcore_assets.storage import StorageBusy, store_of
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import EnvironmentProblem, UserError

if TYPE_CHECKING:
    import pandas as pd

# Such a wave has no table.
NO_CATEGORY = "no category succeeded"
_LONGEST_REASON = 200
_LOG_SHORTLY: dict[str, Any] = {"loggers": {RUN_LOG: {}}}
SHOWN = ("category", "instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro")


def run_wave(config: BenchmarkConfig, categories: Sequence[str]) -> dict[str, str]:
    """Run categories one after the other, then the summary; return what failed, and why.

    `METRICS` is among it if the wave made no table.
    """
    # Tables take a moment to load.
    from patchcore_ops.checks.finding import counted

    logs = dg.Definitions(loggers={RUN_LOG: run_log()})
    definitions = dg.Definitions.merge(define(config), logs)
    started = time.monotonic()
    tags = {WAVE: new_wave_name()}
    failed: dict[str, str] = {}
    with open_instance() as instance:
        for position, category in enumerate(categories, start=1):
            say(f"[{position}/{len(categories)}] {category}")
            result = definitions.resolve_job_def(BENCHMARK_JOB).execute_in_process(
                instance=instance,
                partition_key=category,
                tags=tags,
                run_config=_LOG_SHORTLY,
                raise_on_error=False,
            )
            if not result.success:
                failed[category] = reason_of(result)[1]
            # What the first run has read is the configuration of the whole wave.
            tags.update(tags_of_configuration(instance, result.run_id))
        if len(failed) == len(categories):
            failed[METRICS] = NO_CATEGORY
        else:
            failed |= _summarise(config, definitions, instance, tags)
        kept = _kept_in(instance)
    say(f"history: {kept}")
    made = counted(len(categories), "category", "categories")
    say(f"{made} in {time.monotonic() - started:.0f} s")
    for name, reason in failed.items():
        say(f"FAILED {name}: {reason}", sys.stderr)
    return failed


def _summarise(
    config: BenchmarkConfig,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    tags: dict[str, str],
) -> dict[str, str]:
    """Make the table and the report, and show the table; return what failed, and why."""
    failed: dict[str, str] = {}
    summary = definitions.resolve_job_def(SUMMARY_JOB).execute_in_process(
        instance=instance, tags=tags, run_config=_LOG_SHORTLY, raise_on_error=False
    )
    has_table = succeeded(summary, METRICS)
    if not summary.success:
        step, reason = reason_of(summary)
        failed[step if has_table else METRICS] = reason
    if has_table:
        failed |= show_table(config, has_report=succeeded(summary, BENCHMARK_REPORT))
    return failed


def see_to_home() -> None:
    """Refuse a DAGSTER_HOME that Dagster cannot use."""
    home = Path(os.environ.get("DAGSTER_HOME", "")).expanduser()
    if home != Path() and not (home.is_absolute() and home.is_dir()):
        raise EnvironmentProblem(
            f"DAGSTER_HOME: must be the absolute path of an existing folder (got '{home}')"
        )


def open_instance() -> dg.DagsterInstance:
    """Open the run history that `dagster dev` would use in this folder."""
    home = os.environ.get("DAGSTER_HOME")
    try:
        if home:
            return dg.DagsterInstance.get()
        if Path("dagster.yaml").is_file():
            return dg.DagsterInstance.from_config(str(Path.cwd()))
    except (OSError, yaml.YAMLError, dg.DagsterError) as error:
        said = " ".join(str(error).split())[:_LONGEST_REASON]
        raise EnvironmentProblem(
            f"{home or Path.cwd()}/dagster.yaml: the run history cannot be opened ({said}); "
            "correct that file, and let this user write the folders that it names"
        ) from None
    return dg.DagsterInstance.ephemeral()


def _kept_in(instance: dg.DagsterInstance) -> str:
    """Say where the history of these runs is kept, or how to have one."""
    if instance.is_persistent:
        return str(Path(instance.root_directory).resolve())
    return (
        f"none is kept: {Path.cwd()} has no dagster.yaml; run in a folder with a copy of the "
        "repository's, or set DAGSTER_HOME to one"
    )


def show_table(config: BenchmarkConfig, has_report: bool) -> dict[str, str]:
    """Print the table, and where it and the report are; return why it cannot be shown, if so."""
    try:
        table, notes = read_table(config)
        shown = table[list(SHOWN)].to_string(index=False, float_format=lambda value: f"{value:.4f}")
        say("\n" + shown + "\n")
        for note in notes:
            say(f"{note}.\n")
        store = store_of(config)
        say(f"table:   {store.location(METRICS, None)}/metrics.csv")
        if has_report:
            say(f"report:  {store.location(BENCHMARK_REPORT, None)}/index.html")
    except (UserError, StorageBusy) as trouble:
        return {"table": str(trouble)}
    return {}


def read_table(config: BenchmarkConfig) -> tuple[pd.DataFrame, list[str]]:
    """Read the table of all categories, and the notes to it."""
    import pandas as pd

    from patchcore_ops.stages.layout import METRICS_PARQUET, NOTES

    with store_of(config).open(METRICS, None) as artefact:
        table = pd.read_parquet(artefact.folder / METRICS_PARQUET)
        return table, (artefact.folder / NOTES).read_text(encoding="utf-8").splitlines()


def say(text: str, stream: Any = None) -> None:
    """Print a line at once."""
    print(text, file=stream or sys.stdout, flush=True)
