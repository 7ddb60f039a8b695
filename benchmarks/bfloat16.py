"""The backbone in bfloat16: its time, and its effect on the metrics.

    python -m benchmarks.bfloat16 --data data/mvtec

The backbone runs under torch's autocast; pooling, coreset, search and metrics stay in float32.
Embedding is timed with decoding, in turn with float32, each in a fresh process.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, run_main, run_task, say
from benchmarks.our_stages import METRICS, STAGES
from benchmarks.workloads import add_repeats_option, add_workload_options, prepared

_TASK = "benchmarks.our_stages:run_stages"
_TYPES = ("float32", "bfloat16")


def main() -> None:
    """Measure and write."""
    options = _options()
    embedding: dict[str, list[Run]] = {kind: [] for kind in _TYPES}
    judged: dict[str, Run] = {}
    with prepared(options) as (workload, folder):
        for repeat in range(options.repeats):
            for kind, runs in embedding.items():
                say(f"[{repeat + 1}/{options.repeats}] {kind}")
                of_kind = replace(workload, precision=kind)
                arguments = of_kind.as_arguments(folder=str(folder / kind))
                embed, judge = ({**arguments, "stages": some} for some in (STAGES[:2], STAGES[2:]))
                if repeat == 0:
                    # The network is exported once for all: not a cost of a category.
                    run_task("benchmarks.our_stages:export_network", of_kind.as_arguments(), 1)
                runs.append(run_task(_TASK, embed, options.threads))
                if repeat == 0:
                    judged[kind] = run_task(_TASK, judge, options.threads)
    rows = [_row(kind, embedding, judged) for kind in _TYPES]
    rows.append(_difference(rows))
    notes = [
        f"Medians of {options.repeats} runs in turn, {options.threads} threads, batches of "
        f"{options.batch_size}; coreset {options.percentage:.2%}.",
        "The coreset of other embeddings is another one, so part of the metrics' difference is the "
        "choice of the picks.",
    ]
    title = f"The backbone in bfloat16: {options.category}, {options.backbone}"
    table = tables.Table(title, rows, notes)
    tables.write(
        options,
        "bfloat16",
        table,
        tables.bars(rows[:2], "backbone in", "ms an image", "milliseconds an image"),
    )


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    add_workload_options(parser)
    add_repeats_option(parser)
    return parser.parse_args()


def _row(kind: str, embedding: dict[str, list[Run]], judged: dict[str, Run]) -> dict[str, Any]:
    runs = embedding[kind]
    seconds = [run.seconds["embed_train"] + run.seconds["embed_test"] for run in runs]
    images = runs[0].result["train_images"] + runs[0].result["test_images"]
    return {
        "backbone in": kind,
        "embedding s": median(seconds),
        "ms an image": 1e3 * median(seconds) / images,
        "peak MB": median([run.peak_mb for run in runs]),
        **{name: judged[kind].result["metrics"][name] for name in METRICS},
        "runs": tables.listed(seconds),
    }


def _difference(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    plain, short = rows
    return {
        "backbone in": "ratio, difference",
        "embedding s": plain["embedding s"] / short["embedding s"],
        "ms an image": plain["ms an image"] / short["ms an image"],
        "peak MB": plain["peak MB"] / short["peak MB"],
        **{name: f"{short[name] - plain[name]:+.5f}" for name in METRICS},
        "runs": "",
    }


if __name__ == "__main__":
    run_main(main)
