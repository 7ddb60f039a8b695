"""A small sound category, and ways of spoiling it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from patchcore_ops.dataset.manifest import CategoryScan, scan_category
from patchcore_ops.runtime.errors import DatasetError

# The images of the sound category, in the order of its manifest.
IMAGES = ("train/good/a", "train/good/b", "test/cut/d", "test/good/c")


def draw(path: Path, grey: int = 0, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), grey).save(path)
    return path


def build(root: Path) -> Path:
    for grey, name in enumerate(("train/good/a", "train/good/b", "test/good/c", "test/cut/d")):
        draw(root / "nut" / f"{name}.png", grey)
    draw(root / "nut/ground_truth/cut/d_mask.png", 255)
    return root / "nut"


def scan(nut: Path) -> CategoryScan:
    return scan_category(nut.parent, nut.name)


def refusal(nut: Path) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        scan(nut)
    return str(caught.value).splitlines()


def write(name: str, content: bytes = b"text") -> Callable[[Path], object]:
    def act(nut: Path) -> None:
        (nut / name).parent.mkdir(parents=True, exist_ok=True)
        (nut / name).write_bytes(content)

    return act


def add(name: str) -> Callable[[Path], object]:
    return lambda nut: draw(nut / name, 77)


def link(name: str, target: str) -> Callable[[Path], object]:
    def act(nut: Path) -> None:
        (nut / name).parent.mkdir(parents=True, exist_ok=True)
        (nut / name).symlink_to(target)

    return act


def remove(name: str) -> Callable[[Path], object]:
    def act(nut: Path) -> None:
        (shutil.rmtree if (nut / name).is_dir() else os.unlink)(nut / name)

    return act
