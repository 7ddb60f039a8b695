"""GFLOP/s of each stage against a plain float32 matrix product on the same machine.

    python -m benchmarks.roofline --data data/mvtec

Operations are counted, not assumed: convolutions and matrix products of the network, the pooling
and the coreset by torch's own counter, in a pass that is not timed; those of the search from the
shapes of its scans. A stage's seconds hold all that it does, reading and writing included.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median_seconds, run_main, run_task, say
from benchmarks.our_stages import STAGES
from benchmarks.workloads import add_repeats_option, add_workload_options, prepared

_SIDE = 4096


def main() -> None:
    """Measure and write."""
    options = _options()
    products: list[Run] = []
    stages: list[Run] = []
    with prepared(options) as (workload, folder):
        arguments = workload.as_arguments(folder=str(folder))
        for repeat in range(options.repeats):
            say(f"[{repeat + 1}/{options.repeats}] matrix products, then the stages")
            products.append(
                run_task("benchmarks.operations:time_products", {"side": _SIDE}, options.threads)
            )
            stages.append(
                run_task(
                    "benchmarks.our_stages:run_stages",
                    {**arguments, "stages": STAGES},
                    options.threads,
                )
            )
        say("counting operations")
        counts = run_task(
            "benchmarks.operations:count_operations",
            {**arguments, "proven_share": stages[0].result["proven_share"]},
            options.threads,
        ).result
    rows = _rows(products, stages, counts)
    notes = [
        f"Medians of {options.repeats} runs, {options.threads} threads; coreset "
        f"{options.percentage:.2%}; products of {_SIDE} x {_SIDE} float32 matrices.",
        f"One image: backbone {counts['network'] / 1e9:.3f} GFLOP, pooling "
        f"{counts['pooling'] / 1e9:.3f} GFLOP; a multiplication and an addition are two.",
        "`predict` counts what the search computes; `predict, as a flat scan` what a flat scan of "
        "the same bank would compute, over the same seconds, so it may pass the roof.",
        "Not counted: decoding, normalisation, the picks inside a group of rows, sorting pixels, "
        "reading and writing.",
    ]
    table = tables.Table(f"Roofline: {options.category}, {options.backbone}", rows, notes)
    tables.write(options, "roofline", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_workload_options(parser)
    add_repeats_option(parser)
    tables.add_output_options(parser)
    return parser.parse_args()


def _rows(
    products: Sequence[Run], stages: Sequence[Run], counts: dict[str, Any]
) -> list[dict[str, Any]]:
    operations = {**products[0].result["operations"], **counts["operations"]}
    seconds = {**median_seconds(products), **median_seconds(stages)}
    seconds["predict, as a flat scan"] = seconds["predict"]
    operations["predict, as a flat scan"] = counts["flat_scan"]
    roof = max(
        operations[product] / seconds[product] for product in products[0].result["operations"]
    )
    return [
        {
            "what": name,
            "GFLOP": counted / 1e9,
            "seconds": seconds[name],
            "GFLOP/s": counted / seconds[name] / 1e9,
            "share of the best product": f"{counted / seconds[name] / roof:.1%}",
        }
        for name, counted in operations.items()
    ]


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    tables.draw_bars(
        axes,
        [row["what"] for row in rows],
        {"measured": [row["GFLOP/s"] for row in rows]},
        "GFLOP/s",
    )


if __name__ == "__main__":
    run_main(main)
