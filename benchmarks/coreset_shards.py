r"""Time, coverage and metrics of a coreset in shards, and of embeddings kept as float16.

    python -m benchmarks.coreset_shards --data data/mvtec

The category is embedded once. Each selection runs in a fresh process, which also measures the
distance of every row to its nearest pick, in the projection in which picks are chosen. `dealt`
shards hold every N-th image instead of a range of them: if they cover better, neighbouring images
are alike.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, Stopwatch, median, positive, run_main, run_task, say
from benchmarks.our_stages import METRICS, STAGES
from benchmarks.workloads import Workload, add_workload_options, prepared

_SHOWN = (*METRICS, "pixel_ap", "mean_radius", "max_radius")


def main() -> None:
    """Measure and write."""
    options = _options()
    rows = []
    with prepared(options) as (workload, folder):
        say("embedding")
        arguments = workload.as_arguments(folder=str(folder), stages=STAGES[:2])
        run_task("benchmarks.our_stages:run_stages", arguments, options.threads)
        variants = [(shards, "ranges") for shards in options.shards]
        variants += [(shards, "dealt") for shards in options.shards if shards > 1]
        variants += [(1, "float16")]
        for percentage in options.percentages:
            for shards, kind in variants:
                say(f"{percentage:.2%}, {shards} shards, {kind}")
                one = replace(workload, percentage=percentage)
                runs = [_run(one, folder, shards, kind, seed) for seed in range(options.seeds)]
                rows.append(_row(percentage, shards, kind, runs))
    notes = [
        f"Means over {options.seeds} seeds, {options.threads} threads; in brackets the largest "
        "deviation of a seed from the mean. Seconds are medians.",
        "Radii are over all rows of the train images, in the projection.",
    ]
    title = f"Coreset in shards: {options.category}, {options.backbone}"
    tables.write(
        options, "coreset_shards", tables.Table(title, rows, notes), lambda axes: _draw(axes, rows)
    )


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    add_workload_options(parser, percentage=None)
    parser.add_argument("--percentages", type=float, nargs="+", default=[0.01, 0.1])
    parser.add_argument("--shards", type=positive, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seeds", type=positive, default=3, help="[%(default)s]")
    return parser.parse_args()


def _run(workload: Workload, folder: Path, shards: int, kind: str, seed: int) -> Run:
    arguments = workload.as_arguments(folder=str(folder), shards=shards, kind=kind, seed=seed)
    return run_task("benchmarks.coreset_shards:select", arguments, workload.threads)


def select(
    workload: dict[str, Any], folder: str, shards: int, kind: str, seed: int
) -> dict[str, Any]:
    """Select a bank, measure its coverage and judge it; a task for a fresh process."""
    import numpy as np

    from patchcore_ops.coreset.projection import project
    from patchcore_ops.coreset.torch_draws import Draws
    from patchcore_ops.stages import layout
    from patchcore_ops.stages.category_metrics import evaluate
    from patchcore_ops.stages.faiss_index import index_memory_bank
    from patchcore_ops.stages.memory_bank import select_memory_bank
    from patchcore_ops.stages.predictions import predict

    settings, work = Workload(**workload), Path(folder)
    sections = settings.config().model_dump()
    sections["coreset"].update(shards=shards, seed=seed)
    config, runtime = type(settings.config()).model_validate(sections), settings.runtime()
    embeddings, bank, index, predictions = (
        work / name for name in ("embeddings", "bank", "index", "predictions")
    )
    if kind != "ranges":
        embeddings = _rearranged(embeddings, work / "rearranged", shards, kind)
    watch = Stopwatch()
    with watch.stage("coreset"):
        select_memory_bank(embeddings, config, runtime, bank)
    rows = layout.train_embeddings(embeddings / "0")
    points = project(rows, config.coreset.projection_dimension, Draws(seed))
    picks = points[np.load(bank / "0" / layout.INDICES)]
    distances = _distances(points, picks)
    index_memory_bank(bank, config, index)
    predict(embeddings, index, config, runtime, predictions)
    found = evaluate(
        settings.category, Path(settings.data), predictions, config, runtime, work / "metrics"
    )
    return {
        "seconds": watch.seconds,
        "mean_radius": float(distances.mean()),
        "max_radius": float(distances.max()),
        **{name: float(found[name]) for name in (*METRICS, "pixel_ap")},
    }


def _distances(points: Any, picks: Any) -> Any:
    """Return the distance of each point to its nearest pick."""
    import numpy as np

    from patchcore_ops.scoring.faiss_library import import_faiss

    index = import_faiss().IndexFlatL2(points.shape[1])
    index.add(picks)
    return np.sqrt(index.search(points, 1)[0][:, 0])


def _rearranged(source: Path, target: Path, shards: int, kind: str) -> Path:
    """Copy embeddings with every N-th image side by side, or as float16."""
    import numpy as np

    from patchcore_ops.stages.raw_embeddings import Grid

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    names = ["embeddings.npy", "test_embeddings.npy"]
    if kind == "float16":
        for name in names:
            np.save(target / "0" / name, np.load(source / "0" / name).astype(np.float16))
        return target
    grid = Grid.read(source / "0")
    rows = np.load(source / "0" / names[0]).reshape(grid.train_images, grid.patches, -1)
    dealt = np.concatenate([np.arange(grid.train_images)[shard::shards] for shard in range(shards)])
    np.save(target / "0" / names[0], rows[dealt].reshape(-1, grid.dimension))
    return target


def _row(percentage: float, shards: int, kind: str, runs: Sequence[Run]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "percentage": percentage,
        "shards": shards,
        "kind": kind,
        "selection s": median([run.seconds["coreset"] for run in runs]),
    }
    for name in _SHOWN:
        values = [run.result[name] for run in runs]
        mean = sum(values) / len(values)
        row[name] = f"{mean:.4f} ({max(abs(value - mean) for value in values):.4f})"
    row["runs"] = tables.listed(run.seconds["coreset"] for run in runs)
    return row


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    ranges = [row for row in rows if row["kind"] == "ranges"]
    for percentage in sorted({row["percentage"] for row in ranges}):
        some = [row for row in ranges if row["percentage"] == percentage]
        seconds = [row["selection s"] for row in some]
        axes.plot([row["shards"] for row in some], seconds, "o-", label=f"{percentage:.0%}")
    axes.set_xlabel("shards")
    axes.set_ylabel("seconds")
    axes.legend()


if __name__ == "__main__":
    run_main(main)
