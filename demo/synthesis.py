"""Rendering a whole synthetic category, one independent random stream per image."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from demo.imaging import Mask, RgbImage
from demo.layout import GOOD, Recipe, staged_category, write_image, write_mask

Renderer = Callable[[np.random.Generator, str | None, int], tuple[RgbImage, Mask]]
"""Renders `(generator, defect or None, size)` to an image and its defect mask."""

_MAX_WORKERS = 4


@dataclass(frozen=True)
class SplitCounts:
    """Images of a category: training, flawless test, and test images of each defect."""

    train: int = 60
    test_good: int = 12
    per_defect: int = 6


@dataclass(frozen=True)
class SyntheticCategory:
    """A category that is rendered."""

    name: str  # folder name of the category
    render: Renderer  # the renderer; safe to call from several threads
    defects: tuple[str, ...]  # the defects to render
    counts: SplitCounts  # how many images of each kind
    size: int = 320  # image width and height in pixels

    def recipe(self, seed: int) -> Recipe:
        """Return what determines the category's files, for the completion marker."""
        return {
            "seed": seed,
            "size": self.size,
            "defects": list(self.defects),
            "counts": asdict(self.counts),
        }


@dataclass(frozen=True)
class _Shot:
    """One image to render."""

    split: str
    label: str
    index: int


def image_rng(seed: int, category: str, split: str, label: str, index: int) -> np.random.Generator:
    """Return the random generator of one image, independent of all other images."""
    key = zlib.crc32(f"{category}/{split}/{label}".encode())
    return np.random.default_rng([seed, key, index])


def write_synthetic_category(
    root: Path, category: SyntheticCategory, *, seed: int, force: bool = False
) -> Path:
    """Render a category into `root / category.name` and return that folder.

    Raises DatasetError if the folder is not the generator's own and `force` is false.
    """
    category_dir = root / category.name
    with staged_category(category_dir, category.recipe(seed), force=force) as staging:
        _render_all(staging, category, seed)
    return category_dir


def _render_all(category_dir: Path, category: SyntheticCategory, seed: int) -> None:
    # Threads suffice: numpy and scipy release the interpreter lock on maps of this size.
    with ThreadPoolExecutor(min(_MAX_WORKERS, os.cpu_count() or 1)) as pool:
        renders = pool.map(partial(_render_to, category_dir, category, seed), _shots(category))
        deque(renders, maxlen=0)


def _shots(category: SyntheticCategory) -> Iterator[_Shot]:
    counts = category.counts
    yield from (_Shot("train", GOOD, index) for index in range(counts.train))
    yield from (_Shot("test", GOOD, index) for index in range(counts.test_good))
    for defect in category.defects:
        yield from (_Shot("test", defect, index) for index in range(counts.per_defect))


def _render_to(category_dir: Path, category: SyntheticCategory, seed: int, shot: _Shot) -> None:
    rng = image_rng(seed, category.name, shot.split, shot.label, shot.index)
    defect = None if shot.label == GOOD else shot.label
    image, mask = category.render(rng, defect, category.size)
    write_image(category_dir, shot.split, shot.label, shot.index, image)
    if defect is not None:
        write_mask(category_dir, defect, shot.index, mask)
