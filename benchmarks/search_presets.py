r"""The certified search and FAISS presets against FAISS's flat scan, on real embeddings.

    python -m benchmarks.search_presets --data data/mvtec
    python -m benchmarks.search_presets --data data/mvtec --cache embedded \
        --preset "PCA64,IVF256,Flat,RFlat; nprobe=16,k_factor_rf=16"

All run in turn in one process, with the same threads and the same batches of queries as prediction.
A preset is named the best if it is the fastest of those at least 4.5 times as fast as the flat scan
that keep the score of 99.9 % of the patches within 0.1 % and every metric within 0.002.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import median, run_main, run_task, say
from benchmarks.our_stages import METRICS
from benchmarks.workloads import add_repeats_option, add_workload_options, prepared

FLAT, CERTIFIED = "flat scan", "certified"
PRESETS = (
    "PCA128,Flat,RFlat; k_factor_rf=16",
    "PCA64,Flat,RFlat; k_factor_rf=16",
    "PCA64,Flat,RFlat; k_factor_rf=64",
    "IVF512,Flat; nprobe=16",
    "PCA64,IVF256,Flat,RFlat; nprobe=16,k_factor_rf=16",
    "PCA96,IVF256,Flat,RFlat; nprobe=32,k_factor_rf=16",
    "PCA128,IVF256,Flat,RFlat; nprobe=16,k_factor_rf=16",
    "PCA128,IVF256,Flat,RFlat; nprobe=32,k_factor_rf=32",
    "PCA128,IVF256,Flat,RFlat; nprobe=64,k_factor_rf=32",
    "PCA64,HNSW32,RFlat; efSearch=64,k_factor_rf=16",
    "HNSW32; efSearch=64",
)
_FASTER, _WITHIN, _SHARE, _METRICS_WITHIN = 4.5, 1e-3, 0.999, 0.002


def main() -> None:
    """Measure and write."""
    options = _options()
    with prepared(options) as (workload, _), _cache(options) as cache:
        stages = [stage for stage, file in _NEEDED if not (cache / file).exists()]
        if stages:
            say("embedding and selecting: " + ", ".join(stages))
            run_task(
                "benchmarks.our_stages:run_stages",
                workload.as_arguments(folder=str(cache), stages=stages),
                options.threads,
            )
        say(f"searching, {options.repeats} times in turn")
        result = run_task(
            "benchmarks.searches:compare",
            workload.as_arguments(
                folder=str(cache),
                presets=[[FLAT, ""], [CERTIFIED, ""], *map(_split, options.preset or PRESETS)],
                repeats=options.repeats,
                tolerance=_WITHIN,
            ),
            options.threads,
        ).result
    rows = [_row(found, result["searches"][0]) for found in result["searches"]]
    table = tables.Table(
        f"Searches of {result['queries']} patches in {result['picks']} x {result['dimension']}: "
        f"{options.category}, {options.backbone}",
        rows,
        _notes(options, rows),
    )
    tables.write(options, "search_presets", table, lambda axes: _draw(axes, rows))


_NEEDED = (
    ("manifest", "manifest"),
    ("embed", "embeddings/0/grid.json"),
    ("select", "bank/0/indices.npy"),
)


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    add_workload_options(parser)
    add_repeats_option(parser)
    parser.add_argument(
        "--cache",
        type=Path,
        help="keep embeddings and memory bank in this folder, and use those that it holds",
    )
    parser.add_argument(
        "--preset",
        action="append",
        metavar="'FACTORY; PARAMETERS'",
        help="instead of the built-in list; may be repeated",
    )
    return parser.parse_args()


@contextlib.contextmanager
def _cache(options: argparse.Namespace) -> Iterator[Path]:
    """Open the folder of the embeddings of exactly these options."""
    if options.cache is None:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            yield Path(folder)
        return
    images = f"{options.train_images or 'all'}-{options.test_images or 'all'}"
    name = f"{options.category}-{options.backbone}-{options.percentage}-{images}"
    yield options.cache.resolve() / name


def _split(preset: str) -> list[str]:
    factory, _, parameters = preset.partition(";")
    return [factory.strip(), parameters.strip()]


def _row(found: dict[str, Any], flat: dict[str, Any]) -> dict[str, Any]:
    search, flat_search = median(found["search"]), median(flat["search"])
    return {
        "index": found["factory"],
        "parameters": found["parameters"],
        "build s": median(found["build"]),
        "search s": search,
        "flat / search": flat_search / search,
        "recall@1": found["recall"],
        "scores within 0.1 %": found["within"],
        "largest score difference": f"{found['largest']:.1e}",
        "proven": found["proven"],
        **{name: found["metrics"][name] for name in METRICS},
        "runs": tables.listed(found["search"]),
    }


def _notes(options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> list[str]:
    good = [
        row
        for row in rows[2:]
        if row["flat / search"] >= _FASTER
        and row["scores within 0.1 %"] >= _SHARE
        and all(abs(row[name] - rows[0][name]) <= _METRICS_WITHIN for name in METRICS)
    ]
    best = max(good, key=lambda row: row["flat / search"], default=None)
    named = (
        f"**Best preset**: `factory: {best['index']}`, `search_parameters: {best['parameters']}`, "
        f"{best['flat / search']:.2f} times the flat scan, {best['scores within 0.1 %']:.4%} of "
        "the scores within 0.1 %."
        if best is not None
        else f"No preset is {_FASTER} times as fast with {_SHARE:.1%} of the scores within 0.1 %."
    )
    return [
        named,
        f"Medians of {options.repeats} runs in turn, {options.threads} threads; coreset "
        f"{options.percentage:.2%}; the nearest neighbour of every test patch.",
        "Build is what the stage `faiss_index` does once; the preparation of the certified search "
        "belongs to prediction and is part of its search seconds.",
        "Scores are squared distances. The flat scan computes them from norms and products, the "
        "others mostly from differences, which rounds less.",
    ]


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    labels = [f"{row['index']} {row['parameters']}".strip() for row in rows]
    tables.draw_bars(axes, labels, {"search": [row["search s"] for row in rows]}, "seconds")
    axes.tick_params(axis="y", labelsize=7)
    axes.axvline(rows[0]["search s"] / _FASTER, linestyle="--", color="gray")


if __name__ == "__main__":
    run_main(main)
