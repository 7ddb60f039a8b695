"""The demonstration dataset: which categories it has, and building those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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


def build_demo_dataset(
    root: Path,
    *,
    seed: int = 0,
    categories: Sequence[str] | None = None,
    force: bool = False,
    counts: DemoCounts | None = None,
) -> list[Path]:
    """Write the demonstration dataset in the MVTec AD layout, skipping complete categories.

    Parameters
    ----------
    root : Path
        Folder that receives one folder per category; created if missing.
    seed : int
        Determines every image; another seed gives other images of the same categories.
    categories : sequence of str, optional
        Names from `DEMO_CATEGORIES`; None means all of them.
    force : bool
        Rewrite categories even if they are complete or not the generator's own.
    counts : DemoCounts, optional
        Numbers of images; None means the defaults of `DemoCounts`.

    Returns
    -------
    list of Path
        The categories' folders, in the order of `categories`.

    Raises
    ------
    DatasetError
        If a category is unknown, or its folder was not written by the generator and `force` is
        false.
    EnvironmentProblem
        If the solar cells are to be written without `elpv-dataset`.
    """
    names = DEMO_CATEGORIES if categories is None else categories
    _check_known(names)
    return [
        build_category(root, name, seed=seed, force=force, counts=counts).folder for name in names
    ]


def build_category(
    root: Path,
    name: str,
    *,
    seed: int = 0,
    force: bool = False,
    counts: DemoCounts | None = None,
) -> BuiltCategory:
    """Write one category unless it is complete; see `build_demo_dataset`."""
    _check_known([name])
    counts = counts or DemoCounts()
    folder = root / name
    if name == solar_cells.CATEGORY_NAME:
        if not force and is_complete(folder, solar_cells.solar_recipe(counts.solar, seed)):
            return BuiltCategory(folder, written=False)
        solar_cells.write_solar_cells(root, counts.solar, seed=seed, force=force)
        return BuiltCategory(folder, written=True)
    category = _synthetic_category(name, counts)
    if not force and is_complete(folder, category.recipe(seed)):
        return BuiltCategory(folder, written=False)
    write_synthetic_category(root, category, seed=seed, force=force)
    return BuiltCategory(folder, written=True)


def _synthetic_category(name: str, counts: DemoCounts) -> SyntheticCategory:
    if name == PRINTED_FABRIC:
        return SyntheticCategory(name, render_fabric, FABRIC_DEFECTS, counts.fabric)
    return SyntheticCategory(name, render_washer, WASHER_DEFECTS, counts.washer)


def _check_known(names: Sequence[str]) -> None:
    for name in names:
        if name not in DEMO_CATEGORIES:
            raise DatasetError(
                f"unknown demo category {name!r}; choose from {', '.join(DEMO_CATEGORIES)}"
            )
