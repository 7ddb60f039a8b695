"""Everything after the backbone against the backbone: time an image, lite0 and WR50.

    python -m benchmarks.embedding_step

Four parts run in turn on the same random images: the backbone as timm makes it and the reference
runs it, pooling, the literal form of pooling (unfold, resize, two adaptive poolings), and all of it
by OpenVINO, one image a stream. Random weights will do, for they do not change the time.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, positive, run_main, run_task, say
from benchmarks.our_stages import prepare_process
from benchmarks.workloads import BACKBONES, Workload, add_repeats_option, add_thread_option

__all__ = ["main", "prepare_process", "time_parts"]
_PARTS = ("backbone", "pooling", "literal pooling", "all by OpenVINO")


def main() -> None:
    """Measure and write."""
    options = _options()
    rows = []
    for backbone in options.backbones:
        runs = _measure(backbone, options)
        rows.append(_row(backbone, runs))
    notes = [
        f"Milliseconds an image: medians over {options.repeats} processes, each the median of "
        f"{options.batches} batches of {options.batch_size}, {options.threads} threads.",
        "The largest difference is between pooling and its literal form, relative to the largest "
        "value of the embeddings.",
    ]
    table = tables.Table("The embedding step after the backbone", rows, notes)
    tables.write(options, "embedding_step", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbones", nargs="+", choices=sorted(BACKBONES), default=["lite0", "wr50-random"]
    )
    parser.add_argument("--batch-size", type=positive, default=8, help="[%(default)s]")
    parser.add_argument("--batches", type=positive, default=20, help="[%(default)s]")
    add_thread_option(parser)
    add_repeats_option(parser)
    tables.add_output_options(parser)
    return parser.parse_args()


def _measure(backbone: str, options: argparse.Namespace) -> list[Run]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        weights = str(Path(folder) / "weights.safetensors")
        run_task(
            "benchmarks.workloads:save_weights",
            {"backbone": backbone, "path": weights},
            options.threads,
        )
        workload = Workload(
            data="",
            category="",
            backbone=backbone,
            weights=weights,
            percentage=0.1,
            batch_size=options.batch_size,
            workers=0,
            threads=options.threads,
        )
        runs = []
        for repeat in range(options.repeats):
            say(f"[{repeat + 1}/{options.repeats}] {backbone}")
            runs.append(
                run_task(
                    "benchmarks.embedding_step:time_parts",
                    workload.as_arguments(batches=options.batches),
                    options.threads,
                )
            )
        return runs


def time_parts(workload: dict[str, Any], batches: int) -> dict[str, Any]:
    """Time backbone, pooling and literal pooling in turn; a task for a fresh process.

    Returns
    -------
    dict
        `seconds` an image of each part, and the largest relative `difference` of the poolings.
    """
    import time

    import torch

    from benchmarks.networks import NetworksInFolder, embedder_of, literal_pooling
    from patchcore_ops.embedding.ensemble import open_networks

    settings = Workload(**workload)
    embedder = embedder_of(settings)
    exported = open_networks(
        settings.config(), settings.runtime(), NetworksInFolder(settings.networks)
    )
    section = settings.config().embedding
    pixels = torch.randint(0, 256, (settings.batch_size, 224, 224, 3), dtype=torch.uint8).numpy()
    images = torch.rand(settings.batch_size, 3, 224, 224)
    clock = time.perf_counter
    seconds: dict[str, list[float]] = {part: [] for part in _PARTS}
    with torch.inference_mode():
        for batch in range(batches + 2):
            started = clock()
            features = embedder.extractor(images)
            extracted = clock()
            embedder.pool(features)
            pooled = clock()
            literal = literal_pooling(
                features,
                section.patchsize,
                section.pretrain_embed_dimension,
                section.target_embed_dimension,
            )
            pooled_literally = clock()
            for _ in exported.embed_all((image[None], ()) for image in pixels):
                pass
            done = clock()
            if batch >= 2:  # the first two warm up
                times = (started, extracted, pooled, pooled_literally, done)
                for part, (start, end) in zip(_PARTS, pairwise(times), strict=True):
                    seconds[part].append((end - start) / settings.batch_size)
    embeddings = embedder.pool(features)
    difference = float((embeddings - literal).abs().max() / literal.abs().max())
    return {
        "seconds": {part: median(values) for part, values in seconds.items()},
        "difference": difference,
    }


def _row(backbone: str, runs: list[Run]) -> dict[str, Any]:
    times = {part: median([1e3 * run.seconds[part] for run in runs]) for part in _PARTS}
    return {
        "backbone": backbone,
        **{f"{part} ms": value for part, value in times.items()},
        "torch / OpenVINO": (times["backbone"] + times["pooling"]) / times["all by OpenVINO"],
        "pooling / backbone": f"{times['pooling'] / times['backbone']:.1%}",
        "literal / pooling": times["literal pooling"] / times["pooling"],
        "largest difference": f"{max(run.result['difference'] for run in runs):.1e}",
        "runs": "; ".join(
            tables.listed(1e3 * run.seconds[part] for run in runs) for part in _PARTS
        ),
    }


def _draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    tables.draw_bars(
        axes,
        [row["backbone"] for row in rows],
        {part: [row[f"{part} ms"] for row in rows] for part in _PARTS},
        "milliseconds an image",
    )


if __name__ == "__main__":
    run_main(main)
