r"""What an ensemble's metrics are, by the images over which the members' ranges are taken.

    patchcore benchmark --config ensemble.yaml bottle
    python -m benchmarks.member_ranges --config ensemble.yaml --category bottle

The benchmark scales each member's scores to [0, 1] over the test images, as the reference does; a
model keeps those ranges. Ranges of the train images need no test images. A train image is scored
without the bank's rows that come from itself: with them, its nearest rows would be its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import tables
from benchmarks.measuring import run_main
from patchcore_ops.config import load_config
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.stages import layout
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.leave_one_out import leave_one_out_scores
from patchcore_ops.stages.patch_scores import read_patch_scores, search_images
from patchcore_ops.stages.predictions import ranges_over, write_predictions

_SHOWN = ("instance_auroc", "full_pixel_auroc", "aupro", "pixel_ap")
_ASSETS = ("raw_embeddings", "memory_bank", "faiss_index")


def main() -> None:
    """Measure and write."""
    parser = tables.command_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--category", required=True)
    options = parser.parse_args()
    config, category = load_config(options.config), options.category
    settings, runtime, root = config.for_category(category), RuntimeSection(), config.storage_root
    embeddings, bank, index = (Path(root, asset, category) for asset in _ASSETS)
    if not index.is_dir():
        raise DatasetError(f"{root}: has no '{category}'; benchmark it first")
    members = range(len(settings.embedding.members))
    images = layout.read_images(embeddings)
    test, train = layout.test_rows(images), images[images["split"] == "train"]
    with TemporaryDirectory() as name:
        search_images(embeddings, index, settings, runtime, range(len(test)), Path(name))
        of_test = [read_patch_scores([Path(name)], member) for member in members]
    of_train = leave_one_out_scores(
        embeddings, bank, index, settings, runtime, np.arange(len(train))
    )
    rows, scores = [], []
    for kind, by_member, ranked in (
        ("test images", of_test, test),
        ("train images", of_train, train),
    ):
        scales = ranges_over(by_member, ranked, settings)
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_predictions(test, of_test, scales, settings, folder)
            found = evaluate(category, config.dataset_root, folder, settings, runtime, folder)
            scores.append(layout.read_scores(folder)["score"])
        rows.append({"ranges of": kind, **{metric: found[metric] for metric in _SHOWN}})
    order = scores[0].corr(scores[1], method="spearman")
    notes = [
        f"{category}, {len(members)} members. The image scores of the two have rank correlation "
        f"{order:.4f}.",
    ]
    table = tables.Table("Ranges of an ensemble", rows, notes)
    tables.write(options, "member_ranges", table, lambda axes: _draw(axes, rows))


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for at, row in enumerate(rows):
        places = np.arange(len(_SHOWN)) + 0.4 * at
        axes.bar(places, [row[name] for name in _SHOWN], width=0.4, label=row["ranges of"])
    axes.set_xticks(np.arange(len(_SHOWN)) + 0.2, _SHOWN)
    axes.legend(title="ranges of")


if __name__ == "__main__":
    run_main(main)
