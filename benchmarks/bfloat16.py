"""The backbone in bfloat16: its time, and its effect on the metrics.

    python -m benchmarks.bfloat16 --data data/mvtec

The backbone runs under torch's autocast; pooling, coreset, search and metrics stay in float32.
Embedding is timed with decoding, in turn with float32, each in a fresh process.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, Stopwatch, median, median_seconds, run_main, run_task, say
from benchmarks.our_stages import METRICS, STAGES, prepare_process
from benchmarks.workloads import Workload, add_repeats_option, add_workload_options, prepared

__all__ = ["embed", "main", "prepare_process"]
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
                arguments = workload.as_arguments(folder=str(folder / kind))
                runs.append(
                    run_task(
                        "benchmarks.bfloat16:embed", {**arguments, "kind": kind}, options.threads
                    )
                )
                if repeat == 0:
                    judged[kind] = run_task(
                        "benchmarks.our_stages:run_stages",
                        {**arguments, "stages": [STAGES[0], *STAGES[2:]]},
                        options.threads,
                    )
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
    tables.write(options, "bfloat16", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    add_workload_options(parser)
    add_repeats_option(parser)
    return parser.parse_args()


def embed(workload: dict[str, Any], folder: str, kind: str) -> dict[str, Any]:
    """Embed a category with the backbone in a number format; a task for a fresh process.

    Writes what the embedding stage writes.
    """
    from patchcore_ops.dataset import scan_category
    from patchcore_ops.stages.raw_embeddings import embed_images

    settings = Workload(**workload)
    sections = settings.config().model_dump()
    sections["embedding"]["precision"] = kind
    config = type(settings.config()).model_validate(sections)
    root = Path(settings.data)
    images = scan_category(root, settings.category).images
    watch = Stopwatch()
    with watch.stage("embed"):
        embed_images(images, root, config, settings.runtime(), Path(folder) / "embeddings")
    return {"seconds": watch.seconds, "images": len(images)}


def _row(kind: str, embedding: dict[str, list[Run]], judged: dict[str, Run]) -> dict[str, Any]:
    runs = embedding[kind]
    seconds = sum(median_seconds(runs).values())
    return {
        "backbone in": kind,
        "embedding s": seconds,
        "ms an image": 1e3 * seconds / runs[0].result["images"],
        "peak MB": median([run.peak_mb for run in runs]),
        **{name: judged[kind].result["metrics"][name] for name in METRICS},
        "runs": tables.listed(sum(run.seconds.values()) for run in runs),
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


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    tables.draw_bars(
        axes,
        [row["backbone in"] for row in rows[:2]],
        {"embedding": [row["ms an image"] for row in rows[:2]]},
        "milliseconds an image",
    )


if __name__ == "__main__":
    run_main(main)
