r"""Seconds of what the daemon does all the time, by the number of categories.

    python -m benchmarks.many_categories --categories 60 300 1200

A look of the sensor `watch_inputs`, an evaluation of `rebuild_what_changed`, loading the
configuration and the definitions, and the command until its first run begins. The categories have
a few small files each; what is made of them stands in the event log alone, with as much metadata as
a benchmark records. TMPDIR says where everything lies.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import (
    REPOSITORY,
    Stopwatch,
    positive,
    run_command,
    run_main,
    run_task,
    say,
)

_INPUT = "dagster/input_data_version/"
_POINTER = "dagster/input_event_pointer/"
_WRITING = "the daemon writes what looks report"
_SETTINGS = """
dataset: {{root: data, categories: discover}}
embedding: {{members: [{{backbone: efficientnet_lite0, layers: [blocks.2, blocks.4]}}]}}
coreset: {{percentage: {percentage}}}
storage: {{root: storage}}
"""


def main() -> None:
    """Measure and write."""
    options = _options()
    measured: dict[int, dict[str, float]] = {}
    for categories in options.categories:
        say(f"{categories} categories")
        with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
            folder = Path(name)
            _lay_out(folder, categories, options.files)
            environment = {
                "PATCHCORE_CONFIG": str(folder / "benchmark.yaml"),
                "DAGSTER_HOME": str(folder / "home"),
                "DAGSTER_DISABLE_TELEMETRY": "1",
            }
            arguments = {"folder": name, "made": options.made}
            task = "benchmarks.many_categories:measure"
            seconds = run_task(task, arguments, 1, environment=environment).seconds
            validate = [sys.executable, "-m", "dagster", "definitions", "validate"]
            run = run_command([*validate, "-m", "patchcore_assets"], 1, environment)
            seconds["`dagster definitions validate`"] = run.wall_seconds
            seconds["the command's start"] = _until_the_first_run(folder, environment)
        measured[categories] = {**seconds, "load of the machine": os.getloadavg()[0]}
    steps = list(measured[options.categories[0]])
    rows = [
        {"seconds of": step, **{str(one): measured[one][step] for one in measured}}
        for step in steps
    ]
    notes = [
        f"Seconds, one run; {options.files} files a category. A look is the sensor's function: "
        "what it reports, the daemon writes afterwards, one event after the other.",
        "The first evaluation of what is made reads every event, those that follow only new ones.",
    ]
    table = tables.Table("Many categories", rows, notes)
    tables.write(options, "many_categories", table, lambda axes: _draw(axes, measured))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--categories", type=positive, nargs="+", default=[60, 300, 1200], help="[%(default)s]"
    )
    parser.add_argument("--files", type=positive, default=18, help="of a category [%(default)s]")
    parser.add_argument(
        "--made", action=argparse.BooleanOptionalAction, default=True, help="with what is made, too"
    )
    tables.add_output_options(parser)
    return parser.parse_args()


def _lay_out(folder: Path, categories: int, files: int) -> None:
    for number in range(categories):
        images = folder / "data" / f"part_{number:05}" / "train" / "good"
        images.mkdir(parents=True)
        for image in range(files):
            (images / f"{image:04}.png").write_bytes(b"%d %d" % (number, image))
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").touch()
    (folder / "benchmark.yaml").write_text(_SETTINGS.format(percentage=0.1), encoding="utf-8")


def measure(folder: str, made: bool) -> dict[str, Any]:
    """Time everything that happens in one process; a task."""
    import dagster as dg

    from patchcore_assets.graph import define
    from patchcore_ops.config import load_config

    warnings.simplefilter("ignore")
    watch, others, file = Stopwatch(), Stopwatch(), Path(folder) / "benchmark.yaml"
    with watch.stage("configuration"):
        config = load_config(file)
    with watch.stage("definitions"):
        definitions = define(config)
        definitions.get_repository_def()

    def evaluate(name: str) -> None:
        with watch.stage(name):
            dg.evaluate_automation_conditions(definitions, instance)

    with dg.DagsterInstance.get() as instance:
        _look(definitions, instance, watch, "first look")
        while _look(definitions, instance, others, "another"):
            pass
        watch.seconds[_WRITING] += others.seconds[_WRITING]
        _look(definitions, instance, watch, "later look")
        evaluate("evaluation, nothing made")
        if made:
            _record_all_made(definitions, instance, config.categories)
            evaluate("evaluation, all made")
            evaluate("the next evaluation")
            file.write_text(_SETTINGS.format(percentage=0.2), encoding="utf-8")
            while _look(definitions, instance, others, "another"):
                pass
            evaluate("evaluation, a setting changed for all")
    return {"seconds": watch.seconds}


def _look(definitions: Any, instance: Any, watch: Stopwatch, name: str) -> int:
    """Tick as the daemon does, and write what it reports; returns how much that is."""
    import dagster as dg

    sensor = definitions.resolve_sensor_def("watch_inputs")
    with watch.stage(name), dg.build_sensor_context(instance) as context:
        data = sensor.evaluate_tick(context)
    with watch.stage(_WRITING):
        for event in data.asset_events:
            instance.report_runless_asset_event(event)
    return len(data.asset_events)


def _record_all_made(definitions: Any, instance: Any, categories: tuple[str, ...]) -> None:
    """Record a materialisation of every asset and category, from what there is."""
    import dagster as dg

    graph = definitions.resolve_asset_graph()
    metadata: dict[str, Any] = {
        "page": dg.MetadataValue.md("x" * 20_000),
        **{f"value_{number}": float(number) for number in range(60)},
    }
    for layer in graph.toposorted_asset_keys_by_level:
        for key in sorted(set(layer) & graph.materializable_asset_keys):
            node = graph.get(key)
            known = {parent: _latest(instance, parent) for parent in node.parent_keys}
            for category in categories if node.is_partitioned else (None,):
                tags = {
                    "dagster/data_version": "1",
                    "dagster/code_version": str(node.code_version),
                }
                for parent, events in known.items():
                    event, version = events.get(category) or next(iter(events.values()))
                    name = parent.to_user_string()
                    tags |= {_POINTER + name: str(event), _INPUT + name: version}
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(key, partition=category, tags=tags, metadata=metadata)
                )


def _latest(instance: Any, asset: Any) -> dict[str | None, tuple[int, str]]:
    """Return the latest event of each category, and its version."""
    import dagster as dg

    log, tag = instance.event_log_storage, "dagster/data_version"
    for kind in (dg.DagsterEventType.ASSET_OBSERVATION, dg.DagsterEventType.ASSET_MATERIALIZATION):
        ids = log.get_latest_storage_id_by_partition(asset, kind)
        versions = log.get_latest_tags_by_partition(asset, kind, [tag])
        if ids:
            return {category: (ids[category], versions[category][tag]) for category in ids}
    [record] = instance.fetch_materializations(asset, limit=1).records
    return {None: (record.storage_id, "1")}


def _until_the_first_run(folder: Path, environment: Mapping[str, str]) -> float:
    """Start the command for one category, and stop it when it says that its run begins."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "patchcore_assets.commands.benchmark", "part_00000"]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[1/1]"):
                break
        seconds = time.perf_counter() - started
        process.kill()
    return seconds


def _draw(axes: Any, measured: Mapping[int, Mapping[str, float]]) -> None:
    for name in ("first look", "later look", "evaluation, nothing made", "evaluation, all made"):
        points = [(one, seconds[name]) for one, seconds in measured.items() if name in seconds]
        axes.plot([one for one, _ in points], [value for _, value in points], "o-", label=name)
    axes.set_xlabel("categories")
    axes.set_ylabel("seconds")
    axes.legend()


if __name__ == "__main__":
    run_main(main)
