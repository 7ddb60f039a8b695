r"""Each stage and the whole, side by side with the reference implementation.

    git clone https://github.com/amazon-science/patchcore-inspection reference
    python -m benchmarks.compare_reference --reference reference --data data/mvtec
    python -m benchmarks.compare_reference --reference reference --data data/mvtec \
        --backbone wr50-random --stages embed --name compare_reference_wr50

Both see the same images and weights and run in turn (theirs, ours, theirs, ours, ...), each in a
fresh process with the same number of threads. The reference keeps its script's batch size of 2.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, positive, run_command, run_main, run_task, say
from benchmarks.our_stages import STAGES, write_configuration
from benchmarks.workloads import Workload, add_repeats_option, add_workload_options, prepared
from patchcore_assets.step.networks import EMBEDDING_NETWORK

DEFAULT_PRESET = ("PCA128,IVF256,Flat,RFlat", "nprobe=16,k_factor_rf=16")
_OVERHEAD = "dagster beyond the stages"
_EVERYTHING, _TABLE = "*", "*metrics"
_STAGE_ROWS = {
    "embed train images": ("embed_train",),
    "coreset": ("coreset",),
    "index": ("index",),
    "predict test images": ("embed_test", "predict"),
    "metrics": ("metrics",),
}
_PRESET_ROW = {"predict test images, preset": ("embed_test", "predict_preset")}
_row = partial(tables.compared, "reference")


def main() -> None:
    """Measure and write."""
    options = _options()
    reference: list[Run] = []
    ours: list[Run] = []
    whole: list[Run] = []
    to_table: list[Run] = []
    first: Run | None = None
    with prepared(options) as (workload, folder):
        if options.stages == "all":
            say("ours, through Dagster, the first time: the network is exported")
            first = _run_dagster(workload, folder / "dagster", _EVERYTHING)
        for repeat in range(options.repeats):
            say(f"[{repeat + 1}/{options.repeats}] reference")
            picks = folder / "picks.npz" if repeat == 0 and options.stages == "all" else None
            reference.append(_run_reference(options, workload, picks))
            say(f"[{repeat + 1}/{options.repeats}] ours, by stage")
            ours.append(_run_ours(options, workload, folder / "stages"))
            if options.stages == "all":
                say(f"[{repeat + 1}/{options.repeats}] ours, through Dagster")
                whole.append(_run_dagster(workload, folder / "dagster", _EVERYTHING))
                to_table.append(_run_dagster(workload, folder / "dagster", _TABLE))
        picked = None
        if (folder / "picks.npz").is_file():
            arguments = {"reduced": str(folder / "picks.npz")}
            task = "benchmarks.our_stages:compare_picks"
            picked = run_task(task, arguments, options.threads).result
    table = _table(options, reference, ours, whole, to_table, first, picked)
    drawn = [row for row in table.rows if row["what"] != _OVERHEAD]
    tables.write(
        options,
        "compare_reference",
        table,
        lambda axes: tables.draw_compared(axes, "reference", drawn),
    )


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument(
        "--reference", type=Path, required=True, help="checkout of patchcore-inspection"
    )
    add_workload_options(parser)
    add_repeats_option(parser)
    parser.add_argument("--stages", choices=("all", "embed"), default="all", help="[%(default)s]")
    parser.add_argument("--reference-batch-size", type=positive, default=2, help="[%(default)s]")
    parser.add_argument(
        "--reference-workers",
        type=int,
        default=2,
        help="its script starts 8; [%(default)s] suits few cores better",
    )
    parser.add_argument(
        "--reference-wait-policy",
        choices=("active", "passive"),
        help="OMP_WAIT_POLICY of the reference [its own, unset]",
    )
    parser.add_argument(
        "--also-preset",
        nargs="?",
        const=DEFAULT_PRESET[0],
        metavar="FACTORY",
        help=f"time prediction with this index too [{DEFAULT_PRESET[0]}]",
    )
    parser.add_argument(
        "--preset-parameters", default=DEFAULT_PRESET[1], help="its search [%(default)s]"
    )
    options = parser.parse_args()
    if not (options.reference / "src" / "patchcore").is_dir():
        parser.error(f"{options.reference} holds no src/patchcore")
    return options


def _run_reference(options: argparse.Namespace, workload: Workload, picks: Path | None) -> Run:
    theirs = replace(
        workload, batch_size=options.reference_batch_size, workers=options.reference_workers
    )
    return run_task(
        "benchmarks.reference_stages:run_reference",
        theirs.as_arguments(
            checkout=str(options.reference.resolve()),
            only_embed=options.stages == "embed",
            picks_file=None if picks is None else str(picks),
        ),
        options.threads,
        environment=_wait_policy(options),
    )


def _wait_policy(options: argparse.Namespace) -> dict[str, str]:
    policy = options.reference_wait_policy
    return {} if policy is None else {"OMP_WAIT_POLICY": policy}


def _run_ours(options: argparse.Namespace, workload: Workload, folder: Path) -> Run:
    shutil.rmtree(folder, ignore_errors=True)
    stages = list(STAGES[:2] if options.stages == "embed" else STAGES)
    preset = [options.also_preset, options.preset_parameters] if options.also_preset else None
    return run_task(
        "benchmarks.our_stages:run_stages",
        workload.as_arguments(folder=str(folder), stages=stages, preset=preset),
        options.threads,
    )


def _run_dagster(workload: Workload, folder: Path, selection: str) -> Run:
    """Materialise assets for the category as a user does, in an empty Dagster home.

    Of what a run before has left, the exported network stays: other categories leave one too.
    """
    _forget_all_but_the_network(folder)
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    configuration = folder / "patchcore.yaml"
    write_configuration(workload, folder / "storage", configuration)
    command = "-m dagster asset materialize -m patchcore_assets --select"
    environment = {"PATCHCORE_CONFIG": str(configuration), "DAGSTER_HOME": str(home)}
    for variable in ("PATCHCORE_DATASET_ROOT", "PATCHCORE_STORAGE_ROOT"):
        os.environ.pop(variable, None)
    return run_command(
        [sys.executable, *command.split(), selection, "--partition", workload.category],
        workload.threads,
        environment,
        folder,
    )


def _forget_all_but_the_network(folder: Path) -> None:
    kept = (folder / "storage", folder / "storage" / ".versions")
    shutil.rmtree(folder / "home", ignore_errors=True)
    for place in kept:
        for entry in place.iterdir() if place.is_dir() else ():
            if entry not in kept and entry.name != EMBEDDING_NETWORK:
                is_folder = entry.is_dir() and not entry.is_symlink()
                (shutil.rmtree if is_folder else Path.unlink)(entry)


def _table(
    options: argparse.Namespace,
    reference: list[Run],
    ours: list[Run],
    whole: list[Run],
    to_table: list[Run],
    first_whole: Run | None,
    picked: dict[str, Any] | None,
) -> tables.Table:
    stages = {**_STAGE_ROWS, **(_PRESET_ROW if options.also_preset else {})}
    if options.stages == "embed":
        # Ours decodes test images while it embeds the last of the train images.
        stages = {"embed all images": ("embed_train", "embed_test")}
    rows = [
        _row(
            name,
            [_sum(run, ("predict",) if "predict" in parts[-1] else parts) for run in reference],
            [_sum(run, parts) for run in ours],
            "s",
        )
        for name, parts in stages.items()
    ]
    if whole:
        shared = ("manifest", "embed_train", "embed_test", *STAGES[3:5], "coreset", "metrics")
        theirs = _walls(reference)
        rows.append(_row("whole, as a user runs it", theirs, _walls(whole), "s"))
        rows.append(_row("up to the table of metrics", theirs, _walls(to_table), "s"))
        if first_whole is not None:
            rows.append(_row("whole, the first time", [], _walls([first_whole]), "s"))
            rows.append(_row("peak memory, the first time", [], _peaks([first_whole]), "MB"))
        beyond = median(_walls(whole)) - median([_sum(run, shared) for run in ours])
        rows.append(_row(_OVERHEAD, [], [beyond], "s"))
        rows.append(_row("peak memory, whole", _peaks(reference), _peaks(whole), "MB"))
    rows.append(_row("peak memory, stages alone", _peaks(reference), _peaks(ours), "MB"))
    rows.extend(_metric_rows(reference[0], ours[0]))
    first = ours[0].result
    title = (
        f"Reference and this project: {options.category}, {options.backbone}, "
        f"{first['train_images']} train and {first['test_images']} test images"
    )
    return tables.Table(title, rows, _notes(options, first, picked))


def _metric_rows(reference: Run, ours: Run) -> list[dict[str, Any]]:
    rows = []
    for suffix in ("", "_preset"):
        for name, value in ours.result.get(f"metrics{suffix}", {}).items():
            theirs = reference.result["metrics"].get(name)
            label = f"{name}, preset" if suffix else name
            rows.append(
                {**_row(label, [theirs] if theirs else [], [value], ""), "reference / ours": None}
            )
    return rows


def _notes(
    options: argparse.Namespace, first: dict[str, Any], picked: dict[str, Any] | None
) -> list[str]:
    notes = [
        f"Medians of {options.repeats} runs in turn, {options.threads} threads each; the "
        f"reference with batches of {options.reference_batch_size} and "
        f"{options.reference_workers} loader workers, ours with {options.batch_size} and "
        f"{options.workers}.",
        f"OpenMP threads wait {options.reference_wait_policy or 'as by default'} in the reference "
        "and as by default in ours.",
        "Stages are timed without imports; the whole is the process from start to end, ours "
        "through `dagster asset materialize` of all assets, and of those up to the table, which is "
        "where the reference ends.",
        "Peak memory is the largest resident set of a single process: the reference's loader "
        "workers come on top of it.",
    ]
    if options.stages == "all":
        notes.append(
            f"Coreset: {options.percentage:.2%} of {first['rows']} rows, {first['picks']} picks."
        )
        if first["proven_share"] is not None:
            notes.append(f"Queries proven by bounds: {first['proven_share']:.2%}; scores exact.")
    if options.also_preset:
        notes.append(f"Preset: `{options.also_preset}` with `{options.preset_parameters}`.")
    if picked is not None:
        notes.append(
            f"From the reference's own reduced rows and starting rows, {picked['same_set']:.4%} of "
            f"our picks are its picks ({picked['same_order']:.2%} at the same position), in "
            f"{picked['seconds']['coreset']:.2f} s."
        )
    return notes


def _sum(run: Run, stages: tuple[str, ...]) -> float:
    return sum(run.seconds[stage] for stage in stages)


def _walls(runs: list[Run]) -> list[float]:
    return [run.wall_seconds for run in runs]


def _peaks(runs: list[Run]) -> list[float]:
    return [run.peak_mb for run in runs]


if __name__ == "__main__":
    run_main(main)
