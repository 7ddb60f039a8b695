r"""Embedding, coreset, prediction and memory, side by side with anomalib's PatchCore.

    python -m venv anomalib && anomalib/bin/pip install anomalib
    python -m benchmarks.compare_anomalib --python anomalib/bin/python --data data/mvtec
    python -m benchmarks.compare_anomalib --python anomalib/bin/python --data data/mvtec \
        --backbone wr50-random --name compare_anomalib_wr50

The same images and weights, in turn, each in a fresh process with the same number of threads. The
methods differ: anomalib keeps the layers' channels as they are (152 for EfficientNet-lite0, 1,536
for WR50) where this project follows the paper (1,024), and selects in its own random projection.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from pathlib import Path

from benchmarks import tables
from benchmarks.measuring import Run, positive, run_main, run_task, say
from benchmarks.our_stages import STAGES
from benchmarks.workloads import (
    Workload,
    add_repeats_option,
    add_workload_options,
    image_files,
    prepared,
)

_FPR_LIMIT = 0.3
_STAGE_ROWS = {
    "embed train images": (("embed_train",), ("embed_train",)),
    "coreset": (("coreset",), ("coreset", "index")),
    "predict test images": (("predict",), ("embed_test", "predict")),
}
_row = partial(tables.compared, "anomalib")


def main() -> None:
    """Measure and write."""
    options = _options()
    theirs: list[Run] = []
    ours: list[Run] = []
    with prepared(options) as (workload, folder):
        for repeat in range(options.repeats):
            say(f"[{repeat + 1}/{options.repeats}] anomalib")
            theirs.append(_run_anomalib(options, workload))
            say(f"[{repeat + 1}/{options.repeats}] ours")
            shutil.rmtree(folder / "stages", ignore_errors=True)
            ours.append(
                run_task(
                    "benchmarks.our_stages:run_stages",
                    workload.as_arguments(folder=str(folder / "stages"), stages=list(STAGES)),
                    options.threads,
                )
            )
        aupro = _compare_aupro(options, folder / "maps.npz")
    table = _table(options, theirs, ours, aupro)
    versions = theirs[0].result["versions"]
    tables.write(
        options,
        "compare_anomalib",
        table,
        lambda axes: tables.draw_compared(axes, "anomalib", table.rows),
        {
            f"anomalib's {name}".replace("anomalib's anomalib", "anomalib"): version
            for name, version in versions.items()
        },
    )


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument(
        "--python", required=True, help="interpreter of an environment with anomalib"
    )
    add_workload_options(parser, percentage=0.01)
    add_repeats_option(parser)
    parser.add_argument("--aupro-images", type=positive, default=83, help="[%(default)s]")
    options = parser.parse_args()
    if shutil.which(options.python) is None:
        parser.error(f"{options.python} is no interpreter")
    return options


def _run_anomalib(options: argparse.Namespace, workload: Workload) -> Run:
    category = Path(workload.data) / workload.category
    labels = sorted(folder for folder in (category / "test").iterdir() if folder.is_dir())
    return run_task(
        "benchmarks.anomalib_stages:run_anomalib",
        {
            "train": [str(file) for file in image_files(category / "train" / "good")],
            "test": [str(file) for label in labels for file in image_files(label)],
            "backbone": workload.network.timm_name,
            "layers": list(workload.network.layers),
            "weights": workload.weights,
            "percentage": workload.percentage,
            "batch_size": workload.batch_size,
            "workers": workload.workers,
        },
        options.threads,
        python=options.python,
    )


def _compare_aupro(options: argparse.Namespace, maps_file: Path) -> tuple[Run, Run]:
    """Compute AUPRO of the same maps by both."""
    say("AUPRO of the same maps")
    maps = {"maps_file": str(maps_file)}
    run_task(
        "benchmarks.our_aupro:make_maps",
        {**maps, "images": options.aupro_images},
        options.threads,
    )
    arguments = {**maps, "fpr_limit": _FPR_LIMIT}
    return (
        run_task(
            "benchmarks.anomalib_stages:measure_aupro", arguments, options.threads, options.python
        ),
        run_task("benchmarks.our_aupro:measure_aupro", arguments, options.threads),
    )


def _table(
    options: argparse.Namespace, theirs: list[Run], ours: list[Run], aupro: tuple[Run, Run]
) -> tables.Table:
    rows = [
        _row(name, _sums(theirs, their_parts), _sums(ours, our_parts), "s")
        for name, (their_parts, our_parts) in _STAGE_ROWS.items()
    ]
    all_theirs = [sum(run.seconds.values()) for run in theirs]
    all_ours = _sums(ours, tuple(part for _, parts in _STAGE_ROWS.values() for part in parts))
    rows.append(_row("the three together", all_theirs, all_ours, "s"))
    rows.append(
        _row("peak memory", [run.peak_mb for run in theirs], [run.peak_mb for run in ours], "MB")
    )
    rows.append(_row("AUPRO, computing", *([run.seconds["aupro"]] for run in aupro), "s"))
    values = [run.result["aupro"] for run in aupro]
    rows.append(
        {**_row("AUPRO, value", *([value] for value in values), ""), "anomalib / ours": None}
    )
    first, own = theirs[0].result, ours[0].result
    notes = [
        f"Medians of {options.repeats} runs in turn, {options.threads} threads, batches of "
        f"{options.batch_size}, {options.workers} loader workers each; coreset "
        f"{options.percentage:.2%}: {first['picks']} picks of {first['dimension']} dimensions "
        f"there, {own['picks']} of 1024 here.",
        "Images are decoded in both; here manifest and metrics, which it does elsewhere, are "
        "left out of the seconds, but not out of the peak memory.",
        "Peak memory is the largest resident set of a single process: anomalib's loader workers "
        "come on top of it.",
        f"The weights fill {first['filled']} tensors of anomalib's backbone.",
        f"AUPRO of {options.aupro_images} smooth random maps of 224 x 224 up to a false-positive "
        f"rate of {_FPR_LIMIT}: difference {values[0] - values[1]:.2e}.",
    ]
    title = (
        f"anomalib and this project: {options.category}, {options.backbone}, "
        f"{own['train_images']} train and {own['test_images']} test images"
    )
    return tables.Table(title, rows, notes)


def _sums(runs: list[Run], stages: tuple[str, ...]) -> list[float]:
    return [sum(run.seconds[stage] for stage in stages) for run in runs]


if __name__ == "__main__":
    run_main(main)
