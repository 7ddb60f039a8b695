"""A miniature dataset that renders in about a second, for tests and smoke runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from demo.fabric import render_fabric
from demo.fabric_cloth import INDIGO_LINEN, MADDER_TWILL
from demo.layout import is_complete
from demo.synthesis import (
    SplitCounts,
    SyntheticCategory,
    write_synthetic_category,
)

TINY_DEFECTS = ("hole", "stain")
"""The defects of a tiny category: two that stay visible at a few dozen pixels."""

_DESIGNS = (INDIGO_LINEN, MADDER_TWILL)


def build_tiny_dataset(
    root: Path,
    *,
    categories: Sequence[str] = ("fabric_a", "fabric_b"),
    size: int = 64,
    train: int = 8,
    test_good: int = 4,
    per_defect: int = 3,
    seed: int = 0,
) -> list[Path]:
    """Write small rendered textiles in the MVTec AD layout, skipping complete categories.

    Two textile designs alternate. Of each category there are `train` training images, `test_good`
    flawless test images and `per_defect` of each of `TINY_DEFECTS`, `size` pixels wide and high.
    Returns the categories' folders. Raises DatasetError if one is not the generator's own.
    """
    folders = []
    for number, name in enumerate(categories):
        category = SyntheticCategory(
            name=name,
            render=partial(render_fabric, design=_DESIGNS[number % len(_DESIGNS)]),
            defects=TINY_DEFECTS,
            counts=SplitCounts(train, test_good, per_defect),
            size=size,
        )
        if not is_complete(root / name, category.recipe(seed)):
            write_synthetic_category(root, category, seed=seed)
        folders.append(root / name)
    return folders
