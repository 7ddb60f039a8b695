r"""How many images a second a model scores, from memory, and from files to tables and pictures.

    python -m benchmarks.predict_speed --models storage/model/bottle other/model/bottle \
        --images data/mvtec/bottle/test

From memory, `Model.predict` takes decoded images, as a camera gives them. From files, `patchcore
predict` decodes them and writes; each run is a process with an empty output folder, and one with a
single image tells what a process costs before and after the images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import (
    Run,
    Stopwatch,
    median,
    positive,
    run_command,
    run_main,
    run_task,
    say,
)
from patchcore_ops.model import read_model

_FROM_MEMORY = "nothing, from memory"
_TASK = "benchmarks.predict_speed:score_from_memory"
_VARIANTS = {
    _FROM_MEMORY: (),
    "tables": ("--no-heat-maps",),
    "and heat maps": (),
    "and TIFF": ("--tiff",),
}


def main() -> None:
    """Measure and write."""
    options = _options()
    images = sorted(str(file) for file in options.images.rglob(f"*{options.extension}"))
    rows = []
    # All models in turn: an hour may be slow.
    runs: dict[tuple[Path, str], list[tuple[Run, Run]]] = {
        (model, variant): [] for model in options.models for variant in options.variants
    }
    for repeat in range(options.repeats):
        for (model, variant), of_both in runs.items():
            say(f"[{repeat + 1}/{options.repeats}] {model}: {variant}")
            one = _run(model, images[:1], variant, options.threads)
            of_both.append((one, _run(model, images, variant, options.threads)))
    for (model, variant), of_both in runs.items():
        bank = sum(member.bank_rows for member in read_model(model, verify=False).members)
        rows.append(_row(bank, variant, len(images), *map(list, zip(*of_both, strict=True))))
    notes = [
        f"Medians of {options.repeats} processes in turn, {options.threads} threads, "
        f"{len(images)} images. The speed leaves out what a process with one image takes; the "
        "greatest is that of the fastest process, which others on the machine have slowed least.",
        "CPU milliseconds are of all threads: with nothing else on the machine, the speed cannot "
        f"exceed {options.threads},000 divided by them.",
    ]
    table = tables.Table("The speed of patchcore predict", rows, notes)
    tables.write(options, "predict_speed", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder")
    parser.add_argument(
        "--variants", nargs="+", choices=_VARIANTS, default=list(_VARIANTS), help="[all]"
    )
    parser.add_argument("--extension", default=".png", help="[%(default)s]")
    parser.add_argument("--repeats", type=positive, default=5, help="[%(default)s]")
    parser.add_argument("--threads", type=positive, default=2, help="[%(default)s]")
    return parser.parse_args()


def prepare_process() -> None:
    """Do nothing: what is measured is a process as a user starts it."""


def score_from_memory(model: str, images: list[str]) -> dict[str, Any]:
    """Decode images, then score them, in a process of its own; return the seconds of scoring."""
    import numpy as np
    from PIL import Image

    from patchcore_ops import Model

    decoded = [np.asarray(Image.open(image).convert("RGB")) for image in images]
    loaded = Model.load(model)
    loaded.predict(decoded[:1])
    watch = Stopwatch()
    cpu = time.process_time()
    with watch.stage("scoring"):
        for _ in loaded.stream(decoded):
            pass
    return {"seconds": watch.seconds, "scoring_cpu": time.process_time() - cpu}


def _run(model: Path, images: list[str], variant: str, threads: int) -> Run:
    if variant == _FROM_MEMORY:
        run = run_task(_TASK, {"model": str(model), "images": images}, threads)
        scored = run.seconds["scoring"], run.result["scoring_cpu"]
        return replace(run, wall_seconds=scored[0], cpu_seconds=scored[1])
    command = [sys.executable, "-m", "patchcore_assets.commands.main", "predict"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        output = ["--output", str(Path(folder, "output"))]
        files = ["--model", str(model), *output, *_VARIANTS[variant], *images]
        return run_command([*command, *files], threads)


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
    run_main(main)
