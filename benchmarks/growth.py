r"""Time and peak memory of each stage against the number of train images.

    python -m benchmarks.growth --data data/mvtec --sizes 20 50 100 209 500 1000 2000

Beyond the category's own train images, the same ones are repeated with noise. Each stage runs in
its own fresh process, so that its peak memory is its own. The exponents are the slopes of straight
lines through the points of the log-log plot from `--fit-from` images on.

Of very many images, greedy selection takes hours. What it needs in memory shows at a small
percentage already, and what the search needs of a large bank with random rows in it:

    python -m benchmarks.growth --data data/mvtec --sizes 7000 --percentage 0.01
    python -m benchmarks.growth --data data/mvtec --sizes 7000 --sampler random
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, positive, run_main, run_task, say
from benchmarks.our_stages import STAGES
from benchmarks.workloads import (
    Workload,
    add_repeats_option,
    add_workload_options,
    link_category,
    prepared,
)


def main() -> None:
    """Measure and write."""
    options = _options()
    sizes = sorted(set(options.sizes))
    measured: dict[int, dict[str, list[Run]]] = {}
    with prepared(options) as (workload, folder):
        say(f"laying out {sizes[-1]} train images")
        arguments = {
            "data": workload.data,
            "category": workload.category,
            "target": str(folder / "pool"),
            "images": sizes[-1],
            "seed": 0,
        }
        real = run_task("benchmarks.noisy_images:make_category", arguments, options.threads).result[
            "real"
        ]
        for size in sizes:
            root = folder / "sized"
            link_category(folder / "pool", workload.category, root, size, None)
            measured[size] = _measure(
                replace(workload, data=str(root), sampler=options.sampler),
                folder / "stages",
                options.repeats,
                size,
            )
            shutil.rmtree(root)
    rows = _rows(measured)
    rows += _fits(measured, [size for size in sizes if size >= options.fit_from] or sizes)
    notes = [
        f"Medians of {options.repeats} runs, {options.threads} threads; each stage in its own "
        f"process; coreset {options.percentage:.2%} by {options.sampler}; {real} real train "
        "images, the others repeat them with noise. Prediction is search and maps of the embedded "
        "test images.",
        f"Exponents are fitted from {options.fit_from} images on, memory also by a line; fitted is "
        "the memory beyond what the imported libraries take.",
    ]
    title = f"Growth with the train images: {options.category}, {options.backbone}"
    table = tables.Table(title, rows, notes)
    tables.write(options, "growth", table, lambda axes: _draw(axes, measured))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_workload_options(parser)
    add_repeats_option(parser, default=1)
    parser.add_argument(
        "--sizes",
        type=positive,
        nargs="+",
        default=[20, 50, 100, 200, 500, 1000, 2000],
        help="numbers of train images [%(default)s]",
    )
    parser.add_argument("--sampler", default=Workload.sampler, help="[%(default)s]")
    parser.add_argument("--fit-from", type=positive, default=100, help="[%(default)s]")
    tables.add_output_options(parser)
    return parser.parse_args()


def _measure(workload: Workload, folder: Path, repeats: int, size: int) -> dict[str, list[Run]]:
    """Run every stage in a process of its own, so many times."""
    runs: dict[str, list[Run]] = {}
    for stage in STAGES:
        say(f"{size} train images: {stage}")
        runs[stage] = [
            run_task(
                "benchmarks.our_stages:run_stages",
                workload.as_arguments(folder=str(folder), stages=[stage]),
                workload.threads,
            )
            for _ in range(repeats)
        ]
    shutil.rmtree(folder)
    return runs


def _rows(measured: dict[int, dict[str, list[Run]]]) -> list[dict[str, Any]]:
    return [
        {
            "train images": size,
            "stage": stage,
            "seconds": _seconds(runs),
            "peak MB": median([run.result["peak_mb"] for run in runs]),
            "MB beyond imports": _own_mb(runs),
            "time exponent": None,
            "memory exponent": None,
            "memory line": None,
            "runs": tables.listed(_stage_seconds(run) for run in runs),
        }
        for size, by_stage in measured.items()
        for stage, runs in by_stage.items()
    ]


def _fits(measured: dict[int, dict[str, list[Run]]], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Fit each stage's points by power laws, and its memory by a line too."""
    if len(sizes) < 2:
        return []
    rows = []
    for stage in STAGES:
        runs = [measured[size][stage] for size in sizes]
        peaks = [_own_mb(group) for group in runs]
        slope, intercept = line_through(sizes, peaks)
        rows.append(
            {
                "train images": f"{sizes[0]} to {sizes[-1]}",
                "stage": stage,
                "seconds": None,
                "peak MB": None,
                "MB beyond imports": None,
                "time exponent": exponent(sizes, [_seconds(group) for group in runs]),
                "memory exponent": exponent(sizes, peaks),
                "memory line": f"{intercept:.0f} MB + {slope:.3f} MB an image",
                "runs": "",
            }
        )
    return rows


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent of the power law through some points."""
    return line_through(
        [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    )[0]


def line_through(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - mean_x) ** 2 for value in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    return slope, mean_y - slope * mean_x


def _stage_seconds(run: Run) -> float:
    """Return the seconds of a run of one stage; for embedding, those of the train images."""
    seconds = run.seconds
    return seconds["embed_train"] if "embed_train" in seconds else sum(seconds.values())


def _seconds(runs: Sequence[Run]) -> float:
    return median([_stage_seconds(run) for run in runs])


def _own_mb(runs: Sequence[Run]) -> float:
    """Return the peak memory beyond what the process had after its imports."""
    return median([run.result["peak_mb"] - run.result["imports_mb"] for run in runs])


def _draw(axes: Any, measured: dict[int, dict[str, list[Run]]]) -> None:
    sizes = list(measured)
    memory = axes.twinx()
    for number, stage in enumerate(STAGES):
        runs = [by_stage[stage] for by_stage in measured.values()]
        axes.plot(sizes, [_seconds(group) for group in runs], "o-", color=f"C{number}", label=stage)
        peaks = [max(_own_mb(group), 1.0) for group in runs]
        memory.plot(sizes, peaks, "--", color=f"C{number}")
    for scale in (axes, memory):
        scale.set_xscale("log")
        scale.set_yscale("log")
    axes.set_xlabel("train images")
    axes.set_ylabel("seconds (solid)")
    memory.set_ylabel("peak MB beyond imports (dashed)")
    axes.legend()


if __name__ == "__main__":
    run_main(main)
