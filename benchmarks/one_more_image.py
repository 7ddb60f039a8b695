r"""One image added to a category: the step `raw_embeddings` anew, and from scratch.

    python -m benchmarks.one_more_image --data data/mvtec

All but the last train image are embedded, then all, then all from scratch into another storage that
holds the exported network only; both results are compared byte for byte. Then an image is removed.
Each run is a process of its own; the seconds are the step's, as Dagster shows them, those
of the processors include Dagster's own work.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, run_main, run_task, say
from benchmarks.our_stages import prepare_process
from benchmarks.workloads import add_repeats_option, add_thread_option, link_category

__all__ = ["main", "materialise", "prepare_process"]
_ASSETS = ("image_manifest", "raw_embeddings")


def main() -> None:
    """Measure and write."""
    options = _options()
    runs: dict[str, list[Run]] = {}
    for repeat in range(options.repeats):
        say(f"[{repeat + 1}/{options.repeats}]")
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.work) as work:
            for what, run in _measure(options, Path(work)):
                say(f"{what}: {run.result['seconds']['raw_embeddings']:.2f} s")
                runs.setdefault(what, []).append(run)
    rows: list[tables.Row] = [_row(what, of_one) for what, of_one in runs.items()]
    notes = [
        f"Medians over {options.repeats} repeats of {options.threads} threads; the files after one "
        "image was added are equal to those from scratch, byte for byte.",
    ]
    table = tables.Table(f"One more image: {options.category}", rows, notes)
    tables.write(options, "one_more_image", table, tables.bars(rows, "what", "seconds"))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", default="bottle", help="[%(default)s]")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="[%(default)s]")
    parser.add_argument("--layers", nargs="+", default=["blocks.2", "blocks.4"])
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure [temporary]")
    add_thread_option(parser)
    add_repeats_option(parser)
    return parser.parse_args()


def _measure(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, Run]]:
    dataset = work / "dataset"
    link_category(options.data.resolve(), options.category, dataset, None, None)
    images = dataset / options.category / "train" / "good"
    last = max(images.iterdir())
    target = last.readlink()
    last.unlink()

    def embed(storage: str) -> Run:
        arguments = {
            "config": str(_write_config(options, work, dataset, storage)),
            "category": options.category,
        }
        return run_task("benchmarks.one_more_image:materialise", arguments, options.threads)

    yield "first (exports the network)", embed("storage")
    last.symlink_to(target)
    yield "one image added", embed("storage")
    for part in ("embedding_network", ".versions/embedding_network"):
        shutil.copytree(work / "storage" / part, work / "scratch" / part, symlinks=True)
    yield "from scratch", embed("scratch")
    _compare(
        *(work / place / "raw_embeddings" / options.category for place in ("storage", "scratch"))
    )
    min(images.iterdir()).unlink()
    yield "one image removed", embed("storage")


def _write_config(options: argparse.Namespace, work: Path, dataset: Path, storage: str) -> Path:
    config = {
        "dataset": {"root": str(dataset), "categories": [options.category]},
        "embedding": {"members": [{"backbone": options.backbone, "layers": options.layers}]},
        "storage": {"root": str(work / storage)},
    }
    file = work / f"{storage}.yaml"
    # JSON is YAML.
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def materialise(config: str, category: str) -> dict[str, Any]:
    """Make the manifest and the embeddings; a task for a fresh process.

    Returns of the embeddings alone `seconds`, `processor_seconds`, and how many are `embedded`.
    """
    import time

    import dagster as dg

    from patchcore_assets.graph import define
    from patchcore_ops.config import load_config

    job = define(load_config(config)).resolve_implicit_global_asset_job_def()
    for asset in _ASSETS:
        started = time.process_time()
        result = job.execute_in_process(
            partition_key=category, asset_selection=[dg.AssetKey(asset)]
        )
        processor_seconds = time.process_time() - started
    [made] = result.asset_materializations_for_node(asset)
    [success] = [
        event.step_success_data
        for event in result.all_events
        if event.is_step_success and event.step_key == asset
    ]
    return {
        "seconds": {asset: success.duration_ms / 1000},
        "processor_seconds": processor_seconds,
        "embedded": int(made.metadata["images_embedded"].value),  # type: ignore[arg-type]
    }


def _compare(one: Path, other: Path) -> None:
    names = [
        file.relative_to(one).as_posix()
        for file in one.rglob("*")
        if file.is_file() and file.name != "artefact.json"
    ]
    _, different, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    if different or missing:
        sys.exit(f"{one} and {other} differ in {', '.join([*different, *missing])}")


def _row(what: str, runs: list[Run]) -> dict[str, Any]:
    seconds = [run.seconds["raw_embeddings"] for run in runs]
    return {
        "what": what,
        "images embedded": runs[0].result["embedded"],
        "seconds": median(seconds),
        "processor seconds": median([run.result["processor_seconds"] for run in runs]),
        "peak MB": median([run.peak_mb for run in runs]),
        "runs": tables.listed(seconds),
    }


if __name__ == "__main__":
    run_main(main)
