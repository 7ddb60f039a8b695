r"""The constants of `patchcore_ops.stages.plan_laws`: what a stage takes, by its size.

    python -m benchmarks.plan_constants --data data/mvtec

Each stage runs in a process of its own with one thread, at several sizes; beyond the category's own
train images, the same ones are repeated with noise. Seconds are those of the processor, which
others at work on the machine lengthen little.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import positive, run_main, run_task, say
from benchmarks.our_stages import prepare_process, run_stages
from benchmarks.workloads import Workload, add_workload_options, link_category, prepared

__all__ = ["measure_stage", "prepare_process"]
_CASES = [(52, 0.1), (209, 0.01), (209, 0.1), (836, 0.01), (836, 0.1), (2500, 0.01)]
_STAGES = ("embed", "select", "index", "predict", "evaluate")


def main() -> None:
    """Measure and write."""
    options = _options()
    options.threads = 1
    with prepared(options) as (workload, folder):
        rate = run_task("benchmarks.plan_constants:measure_rate", {}, 1).result["rate"]
        rows = list(_rows(workload, folder, options.cases))
    notes = [
        f"One thread; seconds of the processor; matrix products at {rate / 1e9:.0f} GFLOP/s. MB "
        "are those beyond the imported libraries.",
        "Beyond the category's own train images, the same ones are repeated with noise.",
    ]
    title = f"What a stage takes: {options.category}, {options.backbone}"
    table = tables.Table(title, rows, notes, hidden=())
    tables.write(options, "plan_constants", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    add_workload_options(parser, percentage=None)
    parser.add_argument(
        "--cases",
        nargs="+",
        type=_case,
        default=_CASES,
        help="train images and the coreset's share, as 209:0.1 [52 to 2500 images]",
    )
    return parser.parse_args()


def _case(text: str) -> tuple[int, float]:
    size, _, share = text.partition(":")
    return positive(size), float(share)


def _rows(
    workload: Workload, folder: Path, cases: list[tuple[int, float]]
) -> Iterator[dict[str, Any]]:
    arguments = {
        "data": workload.data,
        "category": workload.category,
        "target": str(folder / "pool"),
        "images": max(size for size, _ in cases),
    }
    run_task("benchmarks.noisy_images:make_category", arguments, 1)
    for size in sorted({size for size, _ in cases}):
        root = folder / "sized"
        link_category(folder / "pool", workload.category, root, size, None)
        stages = folder / "stages"
        sized = replace(workload, data=str(root))
        run_task(
            "benchmarks.our_stages:run_stages",
            sized.as_arguments(folder=str(stages), stages=["manifest"]),
            1,
        )
        wanted = _STAGES
        for share in [share for of_size, share in cases if of_size == size]:
            for stage in wanted:
                say(f"{size} train images, {share:.1%}: {stage}")
                yield _row(replace(sized, percentage=share), stages, stage, size)
            wanted = _STAGES[1:]
        shutil.rmtree(root)
        shutil.rmtree(stages)


def _row(workload: Workload, folder: Path, stage: str, size: int) -> dict[str, Any]:
    result = run_task(
        "benchmarks.plan_constants:measure_stage",
        workload.as_arguments(folder=str(folder), stage=stage),
        1,
    ).result
    return {
        "train images": size,
        "share": workload.percentage,
        "stage": stage,
        "seconds": result["seconds"],
        "MB": result["mb"],
    }


def measure_rate() -> dict[str, Any]:
    """Measure matrix products as the planner does; a task."""
    from patchcore_ops.runtime.machine import product_speed

    return {"rate": product_speed()}


def measure_stage(workload: dict[str, Any], folder: str, stage: str) -> dict[str, Any]:
    """Run one stage: its processor seconds, and its peak MB beyond the imports; a task."""
    imports_mb = run_stages(workload, folder, [])["imports_mb"]
    started = time.process_time()
    peak_mb = run_stages(workload, folder, [stage])["peak_mb"]
    return {"seconds": time.process_time() - started, "mb": peak_mb - imports_mb}


def _draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    for number, stage in enumerate(_STAGES):
        of_stage = [row for row in rows if row["stage"] == stage]
        axes.plot(
            [row["train images"] for row in of_stage],
            [row["seconds"] for row in of_stage],
            "o",
            color=f"C{number}",
            label=stage,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("train images")
    axes.set_ylabel("seconds of the processor")
    axes.legend()


if __name__ == "__main__":
    run_main(main)
