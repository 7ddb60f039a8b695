"""What an image costs in well-known backbones, without torch: see `costs.csv`.

`python -m benchmarks.backbone_costs` makes the table.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from patchcore_ops.backbones.names import EFFICIENTNET_LITE0, REFERENCE_NAMES
from patchcore_ops.config.setting_types import height_and_width

_MEASURED_SIDE = 224


class Cost(NamedTuple):
    """Of some layers: the first one's map, and the multiplications up to the last."""

    grid: tuple[int, int]
    multiplications: float


def cost_of(backbone: str, layers: Sequence[str], imagesize: int | tuple[int, int]) -> Cost | None:
    """Return what one image costs; None where the table has no such backbone or layer.

    Examples
    --------
    >>> cost_of("wideresnet50", ["layer2", "layer3"], 224)
    Cost(grid=(28, 28), multiplications=9187000000.0)
    """
    name = REFERENCE_NAMES.get(backbone, backbone).partition(".")[0]
    if name == EFFICIENTNET_LITE0:
        name = "tf_efficientnet_lite0"
    rows = [_table().get((name, layer)) for layer in layers]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    height, width = height_and_width(imagesize)
    stride = known[0][0]
    deepest = max(multiplications for _, multiplications in known)
    # Convolutions with padding round the sides up.
    grid = -(-height // stride), -(-width // stride)
    return Cost(grid, deepest * height * width / _MEASURED_SIDE**2)


@cache
def _table() -> Mapping[tuple[str, str], tuple[int, float]]:
    file = resources.files("patchcore_ops.backbones") / "costs.csv"
    with file.open(encoding="utf-8") as stream:
        return {
            (row["network"], row["layer"]): (int(row["stride"]), float(row["gmac"]) * 1e9)
            for row in csv.DictReader(stream)
        }
