"""The demonstration dataset: which categories it has, and building those that are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from demo import solar_cells
from demo.fabric import render_fabric
from demo.fabric_defects import FABRIC_DEFECTS
from demo.layout import is_complete
from demo.solar_cells import SolarCounts
from demo.synthesis import (
    SplitCounts,
    SyntheticCategory,
    write_synthetic_category,
)
from demo.washer import render_washer
from demo.washer_defects import WASHER_DEFECTS
from patchcore_ops.runtime.errors import DatasetError

PRINTED_FABRIC = "printed_fabric"
MACHINED_WASHER = "machined_washer"
DEMO_CATEGORIES = (PRINTED_FABRIC, MACHINED_WASHER, solar_cells.CATEGORY_NAME)
"""Every category of the demonstration dataset, in the order it is built."""


@dataclass(frozen=True)
class DemoCounts:
    """Numbers of images in each category of the demonstration dataset."""

    fabric: SplitCounts = field(default_factory=SplitCounts)
    washer: SplitCounts = field(default_factory=SplitCounts)
    solar: SolarCounts = field(default_factory=SolarCounts)


@dataclass(frozen=True)
class BuiltCategory:
    """A category's folder, and whether it was written now or was complete already."""

    folder: Path
    written: bool


def build_category(
    root: Path, name: str, *, seed: int, force: bool, counts: DemoCounts | None = None
) -> BuiltCategory:
    """Write a category of the demonstration dataset in the MVTec AD layout, unless it is complete.

    `seed` determines every image. With `force` it is rewritten even if it is complete or not the
    generator's own. Raises DatasetError if the category is unknown or not the generator's own, and
    EnvironmentProblem if the solar cells are to be written without `elpv-dataset`.
    """
    if name not in DEMO_CATEGORIES:
        raise DatasetError(
            f"unknown demo category {name!r}; choose from {', '.join(DEMO_CATEGORIES)}"
        )
    counts = counts or DemoCounts()
    folder = root / name
    if name == solar_cells.CATEGORY_NAME:
        recipe = solar_cells.solar_recipe(counts.solar, seed)
        write = partial(solar_cells.write_solar_cells, root, counts.solar)
    else:
        category = (
            SyntheticCategory(name, render_fabric, FABRIC_DEFECTS, counts.fabric)
            if name == PRINTED_FABRIC
            else SyntheticCategory(name, render_washer, WASHER_DEFECTS, counts.washer)
        )
        recipe = category.recipe(seed)
        write = partial(write_synthetic_category, root, category)
    if not force and is_complete(folder, recipe):
        return BuiltCategory(folder, written=False)
    write(seed=seed, force=force)
    return BuiltCategory(folder, written=True)
