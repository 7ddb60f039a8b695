"""Lays KolektorSDD (kosNN/PartM.jpg with PartM_label.bmp) out as a category of MVTec AD.

The images are tall, 500 x 1260 pixels, and their defects lie anywhere along them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORY = "kolektor"
# Of the normal images, every so many is for testing.
_TESTED = 3


def lay_out(source: Path, root: Path) -> Path:
    """Write `root/kolektor`; return the root.

    An image is defective if its label image marks anything.
    """
    normal = 0
    for label in sorted(source.glob("kos*/Part*_label.bmp")):
        file = label.with_name(label.name.replace("_label.bmp", ".jpg"))
        marked = np.asarray(Image.open(label).convert("L")) > 0
        if marked.any():
            place = "test/defect"
            mask = root / CATEGORY / "ground_truth/defect" / f"{_name(file)}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.where(marked, 255, 0).astype(np.uint8)).save(mask)
        else:
            place = "train/good" if normal % _TESTED else "test/good"
            normal += 1
        target = root / CATEGORY / place / f"{_name(file)}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return root


def _name(file: Path) -> str:
    return f"{file.parent.name}_{file.stem}"
