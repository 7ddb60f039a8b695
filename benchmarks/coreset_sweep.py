"""Time and metrics against the percentage of the coreset.

    python -m benchmarks.coreset_sweep --data data/mvtec
    python -m benchmarks.coreset_sweep --data data/mvtec --percentages 0.01 0.1

The category is embedded once; selection, prediction and metrics of each percentage run in a fresh
process.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, median_seconds, run_main, run_task, say
from benchmarks.our_stages import STAGES
from benchmarks.workloads import Workload, add_repeats_option, add_workload_options, prepared

_TASK = "benchmarks.our_stages:run_stages"


def main() -> None:
    """Measure and write."""
    options = _options()
    runs: dict[float, list[Run]] = {percentage: [] for percentage in sorted(options.percentages)}
    with prepared(options) as (workload, folder):
        say("embedding")
        run_task(
            _TASK, workload.as_arguments(folder=str(folder), stages=STAGES[:2]), options.threads
        )
        for repeat in range(options.repeats):
            for percentage, measured in runs.items():
                say(f"[{repeat + 1}/{options.repeats}] {percentage:.2%}")
                measured.append(_run(replace(workload, percentage=percentage), str(folder)))
    rows = [_row(percentage, measured) for percentage, measured in runs.items()]
    notes = [
        f"Medians of {options.repeats} runs in turn, {options.threads} threads. Prediction is "
        "search and maps of the embedded test images, exact.",
    ]
    title = f"Coreset percentage: {options.category}, {options.backbone}"
    table = tables.Table(title, rows, notes)
    tables.write(options, "coreset_sweep", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    add_workload_options(parser, percentage=None)
    add_repeats_option(parser)
    parser.add_argument(
        "--percentages",
        type=float,
        nargs="+",
        default=[0.005, 0.01, 0.02, 0.05, 0.1, 0.25],
        help="[%(default)s]",
    )
    return parser.parse_args()


def _run(workload: Workload, folder: str) -> Run:
    return run_task(
        _TASK, workload.as_arguments(folder=folder, stages=STAGES[2:]), workload.threads
    )


def _row(percentage: float, runs: Sequence[Run]) -> dict[str, Any]:
    seconds = median_seconds(runs)
    result = runs[0].result
    return {
        "percentage": percentage,
        "picks": result["picks"],
        "selection s": seconds["coreset"],
        "index s": seconds["index"],
        "prediction s": seconds["predict"],
        "proven share": result["proven_share"],
        "peak MB": median([run.peak_mb for run in runs]),
        **result["metrics"],
        "runs": "; ".join(tables.listed(run.seconds.values()) for run in runs),
    }


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    percentages = [100 * row["percentage"] for row in rows]
    for column in ("selection s", "prediction s"):
        axes.plot(percentages, [row[column] for row in rows], "o-", label=column)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("coreset, % of the patches")
    axes.set_ylabel("seconds")
    quality = axes.twinx()
    quality.plot(
        percentages, [row["full_pixel_auroc"] for row in rows], "k--", label="full_pixel_auroc"
    )
    quality.set_ylabel("full_pixel_auroc (dashed)")
    axes.legend()


if __name__ == "__main__":
    run_main(main)
