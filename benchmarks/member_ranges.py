r"""What an ensemble's metrics are, by the images over which the members' ranges are taken.

    patchcore benchmark --config ensemble.yaml bottle
    python -m benchmarks.member_ranges --config ensemble.yaml --category bottle

The benchmark scales each member's scores to [0, 1] over the test images, as the reference does; a
model keeps those ranges. Ranges of the train images need no test images. A train image is scored
without the bank's rows that come from itself: with them, its nearest rows would be its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import tables
from benchmarks.measuring import run_main
from patchcore_ops.config import load_config
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.metrics.category import METRICS
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.scoring.index_file import read_index
from patchcore_ops.scoring.maps import (
    Range,
    anomaly_maps,
    combine,
    extent,
    image_scores,
    map_extents,
    patch_scores,
)
from patchcore_ops.scoring.neighbours import Searcher
from patchcore_ops.stages import layout
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.raw_embeddings import Grid

Floats = npt.NDArray[np.float32]
_SHOWN = ("instance_auroc", "full_pixel_auroc", "aupro", "pixel_ap")


def main() -> None:
    """Measure and write."""
    parser = tables.command_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--category", required=True)
    options = parser.parse_args()
    config = load_config(options.config)
    settings, root = config.for_category(options.category), Path(config.storage_root)
    if not (root / "faiss_index" / options.category).is_dir():
        raise DatasetError(f"{root}: has no '{options.category}'; benchmark it first")
    test = [_test_scores(root, options.category, at, settings) for at in _members(settings)]
    train = [_train_scores(root, options.category, at, settings) for at in _members(settings)]
    rows = [
        {
            "ranges of": name,
            **_metrics(config.dataset_root, root, options.category, settings, test, of),
        }
        for name, of in (("test images", test), ("train images", train))
    ]
    scores = [_combined(test, of, settings)[0] for of in (test, train)]
    order = pd.Series(scores[0]).corr(pd.Series(scores[1]), method="spearman")
    notes = [
        f"{options.category}, {len(_members(settings))} members. The image scores of the two have "
        f"rank correlation {order:.4f}.",
    ]
    table = tables.Table("Ranges of an ensemble", rows, notes)
    tables.write(options, "member_ranges", table, lambda axes: _draw(axes, rows))


def _members(settings: CategoryConfig) -> range:
    return range(len(settings.embedding.members))


def _test_scores(root: Path, category: str, member: int, settings: CategoryConfig) -> Floats:
    folder = root / "raw_embeddings" / category / str(member)
    grid = Grid.read(folder)
    index = read_index(root / "faiss_index" / category / str(member) / layout.INDEX)
    searcher = Searcher(index, settings.index, RuntimeSection())
    neighbours = settings.scoring.anomaly_scorer_num_nn
    rows = ArrayFile(folder / layout.TEST_EMBEDDINGS)
    distances = searcher.find(rows.read(0, len(rows)), neighbours).distances
    return patch_scores(
        distances, grid.test_images, (grid.height, grid.width), settings.scoring.distance
    )


def _train_scores(root: Path, category: str, member: int, settings: CategoryConfig) -> Floats:
    """Score train images, each without its own rows of the bank."""
    folder = root / "raw_embeddings" / category / str(member)
    grid = Grid.read(folder)
    index = read_index(root / "faiss_index" / category / str(member) / layout.INDEX)
    picks = np.load(root / "memory_bank" / category / str(member) / layout.INDICES)
    image_of_row = picks // grid.patches
    neighbours = settings.scoring.anomaly_scorer_num_nn
    rows = ArrayFile(folder / layout.TRAIN_EMBEDDINGS)
    scores = np.empty((grid.train_images, grid.height, grid.width), dtype=np.float32)
    for image in range(grid.train_images):
        queries = rows.read(image * grid.patches, (image + 1) * grid.patches)
        own = int((image_of_row == image).sum())
        found, nearest = index.search(queries, own + neighbours)
        foreign = image_of_row[nearest] != image
        kept = foreign & (np.cumsum(foreign, axis=1) <= neighbours)
        distances = found[kept].reshape(len(queries), neighbours)
        scores[image] = patch_scores(
            distances, 1, (grid.height, grid.width), settings.scoring.distance
        )[0]
    return scores


def _combined(
    test: Sequence[Floats], ranges_of: Sequence[Floats], settings: CategoryConfig
) -> tuple[Floats, Floats]:
    """Combine the test images' scores and maps by the ranges of some images."""
    side, sigma = settings.dataset.imagesize, settings.scoring.smoothing_sigma
    ranges: list[Range] = [extent(image_scores(one)) for one in ranges_of]
    scores = combine([image_scores(one) for one in test], ranges)
    maps = [anomaly_maps(one, side, sigma) for one in test]
    return scores, combine(maps, map_extents(ranges_of, side, sigma))


def _metrics(
    dataset: Path,
    root: Path,
    category: str,
    settings: CategoryConfig,
    test: Sequence[Floats],
    ranges_of: Sequence[Floats],
) -> dict[str, float]:
    predictions = root / "test_predictions" / category
    images = pd.read_parquet(predictions / layout.IMAGES)
    scores, maps = _combined(test, ranges_of, settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = pd.read_parquet(predictions / layout.SCORES).assign(score=scores)
        table.to_parquet(folder / layout.SCORES)
        images.to_parquet(folder / layout.IMAGES)
        np.save(folder / layout.ANOMALY_MAPS, maps)
        found = evaluate(category, dataset, folder, settings, RuntimeSection(), folder / "metrics")
    assert set(_SHOWN) <= set(METRICS)
    return {name: found[name] for name in _SHOWN}


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for at, row in enumerate(rows):
        places = np.arange(len(_SHOWN)) + 0.4 * at
        axes.bar(places, [row[name] for name in _SHOWN], width=0.4, label=row["ranges of"])
    axes.set_xticks(np.arange(len(_SHOWN)) + 0.2, _SHOWN)
    axes.legend(title="ranges of")


if __name__ == "__main__":
    run_main(main)
