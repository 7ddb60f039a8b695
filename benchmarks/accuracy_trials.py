r"""Trials of ideas that are no settings: two scales, search near the position, few train images.

    python -m benchmarks.accuracy_trials --root data/demo --categories printed_fabric --seeds 3

Each trial tells what leave-one-out over train images says of it too: whether an idea helps has to
be known without defective images. The embeddings are those of `preset: accurate`, as are maps and
image scores, all judged at 224 pixels.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from benchmarks import tables
from benchmarks.measuring import positive, run_main, say
from benchmarks.trial_scores import (
    METRICS,
    SIZE,
    Scored,
    bank_rows,
    by_bank,
    by_near_patches,
    embedded,
    figures,
    scaled_maps,
    stem_and_angle,
)

SCALES = (160, 224, 320)
RADII = (1, 2, 4)
SHOTS = (5, 10)
# Degrees; each set is added to the images as they are.
ROTATIONS: Mapping[str, Sequence[int]] = {
    "as they are": (),
    "quarter turns": (90, 180, 270),
    "10 degrees": (-10, -5, 5, 10),
}


def main() -> None:
    """Run the trials of every category and write their table."""
    options = _options()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for category in options.categories:
            for trial in options.trials:
                for row in TRIALS[trial](options.root, category, options.seeds, Path(work)):
                    found.append({"trial": trial, "category": category, **row})
                    say("  ".join(tables.shown(value) for value in found[-1].values()))
    table = pd.DataFrame(found)
    means = table.groupby(["trial", "category", "variant"], sort=False).mean().reset_index()
    over_all = means.groupby(["trial", "variant"], sort=False).mean(numeric_only=True)
    columns = ["trial", "category", "variant", *METRICS, "left-out level", "left-out peak"]
    both = pd.concat([over_all.reset_index().assign(category="mean"), means])[columns]
    ordered: list[tables.Row] = [dict(row) for _, row in both.iterrows()]
    notes = [
        f"Means over {options.seeds} seeds. Left-out level: the mean patch score of train images "
        "against the bank without themselves. Left-out peak: the greatest score of a smoothed map "
        "of theirs, over that level. Less is better.",
    ]
    labels = [f"{row['variant']} {row['category']}" for row in ordered]
    series = {"AUPRO": [row["AUPRO"] for row in ordered]}
    tables.write(
        options,
        "accuracy_trials",
        tables.Table("Trials beyond the settings", ordered, notes),
        lambda axes: tables.draw_bars(axes, labels, series, "AUPRO"),
    )


def scales(root: Path, category: str, seeds: int, work: Path) -> Iterator[dict[str, Any]]:
    """Score images at several sizes, and add up what two of them say."""
    by_size = {size: embedded(root, category, size, work) for size in SCALES}
    images = by_size[SIZE]
    for seed in range(seeds):
        scored = {size: by_bank(one, bank_rows(one, seed)) for size, one in by_size.items()}
        for size, one in scored.items():
            yield {"variant": f"{size}", **figures(images, one)}
        maps = {size: scaled_maps(one) for size, one in scored.items()}
        for size in SCALES:
            if size != SIZE:
                both = Scored(*(maps[SIZE][part] + maps[size][part] for part in (0, 1)))
                yield {"variant": f"{SIZE} and {size}", **figures(images, both)}


def position(root: Path, category: str, seeds: int, work: Path) -> Iterator[dict[str, Any]]:
    """Search all train patches near a patch's place, against a bank of as many rows anywhere."""
    one = embedded(root, category, SIZE, work)
    near = {radius: figures(one, by_near_patches(one, radius)) for radius in RADII}
    for seed in range(seeds):
        picks = bank_rows(one, seed, 0.2)
        for radius in RADII:
            rows = (2 * radius + 1) ** 2 * len(one.train)
            yield {"variant": f"radius {radius}: {rows} rows near", **near[radius]}
            if rows <= len(picks):
                flat = figures(one, by_bank(one, picks[:rows]))
                yield {"variant": f"radius {radius}: as many rows anywhere", **flat}
        flat = figures(one, by_bank(one, picks[: len(picks) // 2]))
        yield {"variant": "10 % anywhere", **flat}


def few_shot(root: Path, category: str, seeds: int, work: Path) -> Iterator[dict[str, Any]]:
    """Take few train images, as they are and turned; the bank holds as many rows, or all."""
    train = sorted((root / category / "train/good").iterdir())
    draws = [
        np.random.default_rng(seed).permutation(len(train))[: max(SHOTS)] for seed in range(seeds)
    ]
    turned = _with_turned(root, category, [train[at] for at in np.unique(draws)], work)
    one = embedded(turned, category, SIZE, work)
    for seed, draw in enumerate(draws):
        for shots in SHOTS:
            stems = {train[at].stem for at in draw[:shots]}
            for name, angles in ROTATIONS.items():
                kept = [
                    at
                    for at, (stem, angle) in enumerate(stem_and_angle(n) for n in one.names)
                    if stem in stems and angle in (0, *angles)
                ]
                chosen = one._replace(train=one.train[kept], names=[one.names[at] for at in kept])
                patches = chosen.train.shape[1]
                banks = {"all rows": np.arange(len(kept) * patches)}
                if angles:
                    share = 1 / (1 + len(angles))
                    banks["as many rows"] = bank_rows(chosen, seed, share)
                for rows, picks in banks.items():
                    yield {
                        "variant": f"{shots} images {name}, {rows}",
                        **figures(chosen, by_bank(chosen, picks)),
                    }


TRIALS: Mapping[str, Callable[[Path, str, int, Path], Iterator[dict[str, Any]]]] = {
    "scales": scales,
    "position": position,
    "few_shot": few_shot,
}


def _with_turned(root: Path, category: str, train: Sequence[Path], work: Path) -> Path:
    """Lay out a category of these train images and all that they are turned by."""
    target = Path(tempfile.mkdtemp(dir=work))
    for part in ("test", "ground_truth"):
        if (root / category / part).is_dir():
            shutil.copytree(root / category / part, target / category / part)
    folder = target / category / "train/good"
    folder.mkdir(parents=True)
    for file in train:
        with Image.open(file) as opened:
            image = np.asarray(opened.convert("RGB"))
        for angle in sorted({0, *(angle for angles in ROTATIONS.values() for angle in angles)}):
            _turned(image, angle).save(folder / f"{file.stem}@{angle}.png")
    return target


def _turned(image: npt.NDArray[np.uint8], angle: int) -> Image.Image:
    """Turn an image about its centre; the corners show what is reflected at the edge."""
    if angle % 90 == 0:
        return Image.fromarray(np.ascontiguousarray(np.rot90(image, angle // 90)))
    margin = min(image.shape[:2]) // 4
    wider = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    turned = np.asarray(Image.fromarray(wider).rotate(angle, Image.Resampling.BILINEAR))
    return Image.fromarray(turned[margin:-margin, margin:-margin])


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of categories")
    parser.add_argument("--categories", nargs="+", required=True)
    parser.add_argument("--trials", nargs="+", default=list(TRIALS), choices=list(TRIALS))
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--work", help="for embeddings; default: the system's temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
