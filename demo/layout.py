"""Writing one category in the MVTec AD folder layout, all or nothing.

A category is assembled in a hidden sibling folder and renamed into place with a completion
marker inside, so a folder that carries the marker is whole, whatever interrupted the writer.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.imaging import Mask, RgbImage
from patchcore_ops.runtime.errors import DatasetError

GENERATOR_VERSION = 1
"""Raised whenever the same seed would give different files, so that old folders are rebuilt."""

MARKER_NAME = ".demo-complete.json"
GOOD = "good"

Recipe = Mapping[str, Any]
"""Everything that determines a category's files, as JSON-serialisable values."""


def image_path(category_dir: Path, split: str, label: str, index: int) -> Path:
    """Return the path of an image, such as `test/hole/003.png`; `split`: `train` or `test`."""
    return category_dir / split / label / f"{index:03d}.png"


def mask_path(category_dir: Path, label: str, index: int) -> Path:
    """Return the path of a test image's mask, such as `ground_truth/hole/003_mask.png`."""
    return category_dir / "ground_truth" / label / f"{index:03d}_mask.png"


def write_image(category_dir: Path, split: str, label: str, index: int, image: RgbImage) -> None:
    """Write an image, uint8 `[H, W, 3]`, as PNG."""
    _write_png(image_path(category_dir, split, label, index), Image.fromarray(image))


def write_mask(category_dir: Path, label: str, index: int, mask: Mask) -> None:
    """Write a mask, bool `[H, W]`, as an 8-bit PNG of 0 and 255."""
    grey = mask.astype(np.uint8) * np.uint8(255)
    _write_png(mask_path(category_dir, label, index), Image.fromarray(grey))


def is_complete(category_dir: Path, recipe: Recipe) -> bool:
    """Return whether the folder holds every file of a category made from this recipe."""
    marker = category_dir / MARKER_NAME
    try:
        written = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(written == _marker_content(category_dir, recipe))


@contextmanager
def staged_category(category_dir: Path, recipe: Recipe, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write a category to; on success it becomes `category_dir`.

    An older category of the generator at `category_dir` is replaced. If the block raises,
    whatever was at `category_dir` stays as it was. Raises DatasetError if `category_dir` exists,
    was not written by the generator, and `force` is false.
    """
    if category_dir.exists() and not (category_dir / MARKER_NAME).is_file() and not force:
        raise DatasetError(
            f"{category_dir} exists but was not written by the demo generator;"
            " move it away, choose another root, or force its replacement"
        )
    root = category_dir.parent
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{category_dir.name}-", dir=root, ignore_cleanup_errors=True
    ) as scratch:
        staging = Path(scratch) / "new"
        staging.mkdir()
        yield staging
        marker = json.dumps(_marker_content(staging, recipe), indent=2, sort_keys=True)
        (staging / MARKER_NAME).write_text(marker + "\n", encoding="utf-8")
        if category_dir.exists():
            category_dir.rename(Path(scratch) / "old")
        staging.rename(category_dir)


def copy_image(source: Path, category_dir: Path, split: str, label: str, index: int) -> None:
    """Copy an existing PNG file into the layout, byte for byte."""
    target = image_path(category_dir, split, label, index)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _marker_content(category_dir: Path, recipe: Recipe) -> dict[str, Any]:
    """Return the marker's JSON content; its file count exposes files deleted after completion."""
    files = sum(1 for _ in category_dir.rglob("*.png"))
    return {"generator_version": GENERATOR_VERSION, "recipe": dict(recipe), "png_files": files}


def _write_png(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Level 3 halves the encoding time of noisy images for a few per cent more bytes.
    image.save(path, compress_level=3)
