"""`patchcore-benchmark`: a whole benchmark from the command line, without a daemon.

Runs every category of a configuration, one Dagster run each, in this process; goes on past a
category that fails; then makes the table and the report. All of them are one wave, in the same
history that `dagster dev` shows.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from patchcore_assets.graph import define
from patchcore_assets.location import CONFIG_VARIABLE, config_path
from patchcore_assets.storage import StorageBusy, open_store
from patchcore_assets.waves import BENCHMARK_JOB, SUMMARY_JOB, WAVE, wave_name
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.errors import UserError
from patchcore_ops.process import tune_process

_QUIET = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
_SHOWN = ("category", "instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 1 if any category failed."""
    parser = argparse.ArgumentParser(
        prog="patchcore-benchmark",
        description="Run every category of a benchmark, then its table and report.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        help=f"the YAML file; default: {CONFIG_VARIABLE}, or patchcore.yaml",
    )
    parser.add_argument(
        "categories", nargs="*", help="run only these categories; default: all of the file"
    )
    options = parser.parse_args(arguments)
    tune_process()
    try:
        config = load_config(options.config or config_path())
        chosen = options.categories or list(config.categories)
        for category in chosen:
            config.for_category(category)
        definitions = define(config)
    except UserError as mistake:
        _say(str(mistake), sys.stderr)
        return 2
    return _run(config, definitions, chosen)


def _run(config: BenchmarkConfig, definitions: dg.Definitions, categories: Sequence[str]) -> int:
    started = time.monotonic()
    tags = {WAVE: wave_name(datetime.now(UTC))}
    failed: dict[str, str] = {}
    with _instance() as instance:
        for position, category in enumerate(categories, start=1):
            _say(f"[{position}/{len(categories)}] {category}")
            result = definitions.resolve_job_def(BENCHMARK_JOB).execute_in_process(
                instance=instance,
                partition_key=category,
                tags=tags,
                run_config=_QUIET,
                raise_on_error=False,
            )
            if not result.success:
                failed[category] = _reason(result)[1]
        summary = definitions.resolve_job_def(SUMMARY_JOB).execute_in_process(
            instance=instance, tags=tags, run_config=_QUIET, raise_on_error=False
        )
    if summary.success:
        try:
            _show_table(config)
        except (UserError, StorageBusy) as trouble:
            failed["table"] = str(trouble)
    else:
        step, reason = _reason(summary)
        failed[step] = reason
    _say(f"{len(categories)} categories in {time.monotonic() - started:.0f} s")
    for name, reason in failed.items():
        _say(f"FAILED {name}: {reason}", sys.stderr)
    return 1 if failed else 0


def _instance() -> dg.DagsterInstance:
    """Open the run history that `dagster dev` would use in this folder."""
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    if Path("dagster.yaml").is_file():
        return dg.DagsterInstance.from_config(str(Path.cwd()))
    return dg.DagsterInstance.ephemeral()


def _reason(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """Return the first failed step and its sentence."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return str(event.step_key), data.user_failure_data.description
        if refusals := _refusals(result):
            return str(event.step_key), refusals
        if data.error is not None:
            return str(event.step_key), data.error.message.strip()
    return result.job_def.name, "see the run's log"


def _refusals(result: dg.ExecuteInProcessResult) -> str:
    """Return what the blocking checks say that have failed the run, if any."""
    return " ".join(
        one.description or one.check_name
        for one in result.get_asset_check_evaluations()
        if one.blocking and not one.passed and one.severity is dg.AssetCheckSeverity.ERROR
    )


def _show_table(config: BenchmarkConfig) -> None:
    import pandas as pd

    from patchcore_ops.stages.layout import METRICS_PARQUET

    store = open_store(
        config.storage_root, cache=config.storage_cache, cache_bytes=config.storage_cache_bytes
    )
    with store.open("metrics", None) as artefact:
        table = pd.read_parquet(artefact.folder / METRICS_PARQUET)
    shown = table[list(_SHOWN)].to_string(index=False, float_format=lambda value: f"{value:.4f}")
    _say("\n" + shown + "\n")
    _say(f"table:   {store.location('metrics', None)}/metrics.csv")
    _say(f"report:  {store.location('benchmark_report', None)}/index.html")


def _say(text: str, stream: Any = None) -> None:
    print(text, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
