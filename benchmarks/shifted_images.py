r"""What a model says where light, focus, compression or position differ from its train images.

    python -m benchmarks.shifted_images --models storage/model/bottle \
        --images data/mvtec/bottle/test

Test images are changed in six ways, each as it may happen on a line. Normal images are those in the
folder `good`. Several models of one category are compared on the same images.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter
from sklearn.metrics import roc_auc_score

from benchmarks import tables
from benchmarks.measuring import run_main, say
from patchcore_ops.inspection.image_list import list_images
from patchcore_ops.model import Model

Picture = Image.Image
_WARM = (1.1, 1.0, 0.9)


def _compressed(image: Picture) -> Picture:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content).convert("RGB")


def _warmer(image: Picture) -> Picture:
    values = np.asarray(image) * np.array(_WARM)
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


CHANGES: Mapping[str, Callable[[Picture], Picture]] = {
    "none": lambda image: image,
    "brightness 0.8": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "brightness 1.15": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "red 1.1, blue 0.9": _warmer,
    "blur, 1/300 of the width": lambda image: image.filter(
        ImageFilter.GaussianBlur(image.width / 300)
    ),
    "JPEG, quality 40": _compressed,
    "moved by 2 %": lambda image: ImageChops.offset(image, image.width // 50, image.height // 50),
}


def main() -> None:
    """Score the changed images with every model and write."""
    options = _options()
    files = [one for one in list_images([str(options.images)]) if isinstance(one, Path)]
    is_defect = np.array([file.parent.name != "good" for file in files])
    models = {folder: Model.load(folder) for folder in options.models}
    rows = []
    for name, change in CHANGES.items():
        for folder, model in models.items():
            found = list(model.stream(change(_opened(file)) for file in files))
            row = {"model": str(folder), "change": name, **_figures(found, is_defect)}
            rows.append(row)
            say("  ".join(tables.shown(value) for value in row.values()))
    notes = [
        f"{sum(~is_defect)} normal and {sum(is_defect)} defective images.",
        "An image is flagged where its score exceeds the model's threshold.",
    ]
    table = tables.Table("Verdicts on changed images", rows, notes)
    tables.write(options, "shifted_images", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=Path, required=True, help="the category's folder `test`")
    return parser.parse_args()


def _opened(file: Path) -> Picture:
    with Image.open(file) as image:
        return image.convert("RGB")


def _figures(found: Sequence[Any], is_defect: np.ndarray) -> dict[str, float]:
    scores = np.array([one.score for one in found])
    is_flagged = np.array([bool(one.is_anomaly) for one in found])
    return {
        "normal images flagged": float(is_flagged[~is_defect].mean()),
        "defective images flagged": float(is_flagged[is_defect].mean()),
        "image AUROC": float(roc_auc_score(is_defect, scores)),
        "median score of normal images": float(np.median(scores[~is_defect])),
    }


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        axes.plot([row["change"] for row in own], [row["normal images flagged"] for row in own])
    axes.set_ylabel("normal images flagged")
    axes.tick_params(axis="x", rotation=90)


if __name__ == "__main__":
    run_main(main)
