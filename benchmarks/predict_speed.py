r"""How many images a second `patchcore predict` scores, from files on disk to tables and pictures.

    python -m benchmarks.predict_speed --models storage/model/bottle other/model/bottle \
        --images data/mvtec/bottle/test

Each run is a process with an empty output folder. One with a single image tells what a process
costs before and after the images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import Run, median, run_command, say
from patchcore_ops.model import read_model

_VARIANTS = {
    "tables": ("--no-heat-maps",),
    "and heat maps": (),
    "and TIFF": ("--tiff",),
}


def main() -> None:
    """Measure and write."""
    options = _options()
    images = sorted(str(file) for file in options.images.rglob(f"*{options.extension}"))
    rows = []
    for model in options.models:
        bank = sum(member.bank_rows for member in read_model(model, verify=False).members)
        for variant, arguments in _VARIANTS.items():
            one, several = [], []
            for repeat in range(options.repeats):
                say(f"[{repeat + 1}/{options.repeats}] {model}: {variant}")
                one.append(_run(model, images[:1], arguments, options.threads))
                several.append(_run(model, images, arguments, options.threads))
            rows.append(_row(bank, variant, len(images), one, several))
    notes = [
        f"Medians of {options.repeats} processes, {options.threads} threads, {len(images)} images. "
        "The speed leaves out what a process with one image takes; the greatest is that of the "
        "fastest process, which others on the machine have slowed least.",
        "CPU milliseconds are of all threads: with nothing else on the machine, the speed cannot "
        f"exceed {options.threads},000 divided by them.",
    ]
    table = tables.Table("The speed of patchcore predict", rows, notes)
    tables.write(options, "predict_speed", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder")
    parser.add_argument("--extension", default=".png", help="[%(default)s]")
    parser.add_argument("--repeats", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--threads", type=int, default=2, help="[%(default)s]")
    tables.add_output_options(parser)
    return parser.parse_args()


def _run(model: Path, images: list[str], arguments: tuple[str, ...], threads: int) -> Run:
    command = [sys.executable, "-m", "patchcore_assets.commands.main", "predict"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        output = ["--output", str(Path(folder, "output"))]
        return run_command([*command, "--model", str(model), *output, *arguments, *images], threads)


def _row(
    bank: int, variant: str, images: int, one: list[Run], several: list[Run]
) -> dict[str, Any]:
    start = median([run.wall_seconds for run in one])
    start_cpu = median([run.cpu_seconds for run in one])
    more = images - 1
    wall = [run.wall_seconds - start for run in several]
    return {
        "bank rows": bank,
        "written": variant,
        "images a second": more / median(wall),
        "greatest": more / min(wall),
        "CPU ms an image": 1000 * (median([run.cpu_seconds for run in several]) - start_cpu) / more,
        "s, one image": start,
        "peak MB": median([run.peak_mb for run in several]),
    }


def _draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    labels = [f"{row['bank rows']:,}: {row['written']}" for row in rows]
    speeds = {"images a second": [row["images a second"] for row in rows]}
    tables.draw_bars(axes, labels, speeds, "images a second")


if __name__ == "__main__":
    main()
