r"""What it takes to score one image with a model, in a process that begins and ends with it.

    python -m benchmarks.model_start --model storage/model/bottle --images a.png b.png c.png

The first image is scored by a fresh process; then one process scores all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import (
    Run,
    Stopwatch,
    median,
    median_seconds,
    positive,
    run_main,
    run_task,
    say,
)

_TASK = "benchmarks.model_start:score"
_FOREIGN = ("torch", "torchvision", "timm", "dagster", "pandas")


def main() -> None:
    """Measure and write."""
    options = _options()
    rows = []
    for name, images in (("one image", options.images[:1]), ("all images", options.images)):
        arguments = {"model": str(options.model), "images": [str(image) for image in images]}
        runs: list[Run] = []
        for repeat in range(options.repeats):
            say(f"[{repeat + 1}/{options.repeats}] {name}")
            runs.append(run_task(_TASK, arguments, options.threads))
        foreign = {module for run in runs for module in run.result["foreign"]}
        rows.append(
            {
                "scored": name,
                "images": len(images),
                "s, from start to end": median([run.wall_seconds for run in runs]),
                "s, loading": median_seconds(runs)["loading"],
                "ms an image": 1000 * median_seconds(runs)["scoring"] / len(images),
                "peak MB": median([run.peak_bytes for run in runs]) / 1e6,
                "imported": ", ".join(sorted(foreign)) or "none of these",
            }
        )
    notes = [
        f"Medians of {options.repeats} processes, {options.threads} threads. Loading begins with "
        "`from patchcore_ops import Model` and verifies every file.",
        f"Looked for among the imported: {', '.join(_FOREIGN)}.",
    ]
    table = tables.Table(f"A model's start: {options.model.name}", rows, notes)
    tables.write(options, "model_start", table, tables.bars(rows, "scored", "s, from start to end"))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--repeats", type=positive, default=5, help="[%(default)s]")
    parser.add_argument("--threads", type=positive, default=2, help="[%(default)s]")
    return parser.parse_args()


def prepare_process() -> None:
    """Do nothing: what is measured is a process as a user starts it."""


def score(model: str, images: Sequence[str]) -> dict[str, Any]:
    """Load a model and score images, in a process of its own."""
    import sys

    watch = Stopwatch()
    with watch.stage("loading"):
        from patchcore_ops import Model

        loaded = Model.load(model)
    with watch.stage("scoring"):
        scores = [one.score for one in loaded.stream(images)]
    foreign = [name for name in _FOREIGN if name in sys.modules]
    return {"seconds": watch.seconds, "scores": scores, "foreign": foreign}


if __name__ == "__main__":
    run_main(main)
