r"""One category of thousands of images to the end, each asset in a process of its own.

    python -m benchmarks.large_category --data data/mvtec --images 7000 --percentage 0.1 --shards 8

Beyond the category's own train images, the same ones are repeated with noise. Needs 3.2 MB of disk
an image (half of it with `--storage float16`). `--work` keeps images and storage: a further run
does not export the network again, and up to `--images-per-shard` images it embeds none again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import REPOSITORY, Run, positive, run_command, run_main, run_task, say

_ASSETS = (
    "image_manifest",
    "raw_embeddings",
    "memory_bank",
    "faiss_index",
    "test_predictions",
    "category_metrics",
    "score_calibration",
    "model",
)


def main() -> None:
    """Measure and write."""
    options = _options()
    with _work_folder(options.work) as work:
        root = work / f"{options.category}-{options.images}"
        if not (root / options.category).is_dir():
            say(f"laying out {options.images} train images")
            with tempfile.TemporaryDirectory(dir=work) as unfinished:
                arguments = {
                    "data": str(options.data.resolve()),
                    "category": options.category,
                    "target": unfinished,
                    "images": options.images,
                }
                run_task("benchmarks.noisy_images:make_category", arguments, options.threads)
                root.mkdir(exist_ok=True)
                Path(unfinished, options.category).replace(root / options.category)
        rows = list(_measure(options, root, work))
    notes = [
        f"Coreset {options.percentage:.2%} in {options.shards} shards, embeddings kept as "
        f"{options.storage}, {options.images_per_shard} images a shard, {options.threads} threads.",
        "From the start of the process to its end, Dagster and the checks included; the images "
        "beyond the category's own repeat them with noise.",
    ]
    title = f"A category of {options.images:,} train images: {options.category}"
    tables.write(
        options,
        "large_category",
        tables.Table(title, rows, notes),
        tables.bars(rows, "asset", "seconds"),
    )


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", default="bottle", help="[%(default)s]")
    parser.add_argument("--images", type=positive, default=7000, help="[%(default)s]")
    parser.add_argument("--percentage", type=float, default=0.01, help="[%(default)s]")
    parser.add_argument("--shards", type=positive, default=1, help="[%(default)s]")
    parser.add_argument("--storage", default="float32", help="[%(default)s]")
    parser.add_argument("--images-per-shard", type=positive, default=1000, help="[%(default)s]")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="[%(default)s]")
    parser.add_argument("--layers", nargs="+", default=["blocks.2", "blocks.4"])
    parser.add_argument("--threads", type=positive, default=2, help="[%(default)s]")
    parser.add_argument("--until", choices=_ASSETS, default=_ASSETS[-1], help="[%(default)s]")
    parser.add_argument("--work", type=Path, help="a folder that stays [a temporary one]")
    return parser.parse_args()


@contextmanager
def _work_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        yield Path(temporary)


def _measure(options: argparse.Namespace, root: Path, work: Path) -> Iterator[dict[str, Any]]:
    config = {
        "dataset": {"root": str(root), "categories": [options.category]},
        "embedding": {
            "members": [{"backbone": options.backbone, "layers": options.layers}],
            "storage": options.storage,
        },
        "coreset": {"percentage": options.percentage, "shards": options.shards},
        # A folder that stays has results that would be taken over in no time.
        "runtime": {"images_per_shard": options.images_per_shard, "recompute": True},
        "storage": {"root": str(work / "storage")},
    }
    # JSON is YAML.
    (work / "patchcore.yaml").write_text(json.dumps(config), encoding="utf-8")
    (work / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))
    for asset in _ASSETS[: _ASSETS.index(options.until) + 1]:
        say(asset)
        run = _materialise(asset, options, work)
        folder = work / "storage" / asset / options.category
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        say(f"{run.wall_seconds:.0f} s, {run.peak_bytes / 1e6:.0f} MB, {size / 1e6:.0f} MB on disk")
        yield {
            "asset": asset,
            "seconds": run.wall_seconds,
            "peak MB": run.peak_bytes / 1e6,
            "MB on disk": size / 1e6,
        }


def _materialise(asset: str, options: argparse.Namespace, work: Path) -> Run:
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "patchcore_assets"]
    return run_command(
        [*command, "--select", asset, "--partition", options.category],
        options.threads,
        {"PATCHCORE_CONFIG": str(work / "patchcore.yaml"), "DAGSTER_HOME": str(work)},
        folder=work,
    )


if __name__ == "__main__":
    run_main(main)
