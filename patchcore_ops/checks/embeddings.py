"""Checks of the patch embeddings, without reading them all again.

That every value is finite was seen to while they were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from patchcore_ops.checks.finding import Finding, counted
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.stages.layout import TEST_EMBEDDINGS, TRAIN_EMBEDDINGS, member_folder
from patchcore_ops.stages.raw_embeddings import Grid

SAMPLED_ROWS = 256


def every_patch_has_an_embedding(
    folder: Path, grids: Sequence[Grid], train_images: int, test_images: int
) -> Finding:
    """Check that there is one row per image and patch, for every member.

    Parameters
    ----------
    folder : Path
        Folder of the stage `embed`.
    grids : sequence of Grid
        One per member.
    train_images, test_images : int
        Of the manifest.
    """
    rows = []
    for member, grid in enumerate(grids):
        for split, file, images in _splits(train_images, test_images):
            found = ArrayFile(member_folder(folder, member) / file).shape
            expected = (images * grid.patches, grid.dimension)
            rows.append(
                {
                    "member": member,
                    "split": split,
                    "expected": f"{expected[0]} x {expected[1]}",
                    "found": " x ".join(map(str, found)),
                }
            )
    table = pd.DataFrame(rows)
    wrong = table[table["expected"] != table["found"]]
    return Finding(
        wrong.empty,
        f"There is an embedding for each patch of the {train_images + test_images:,} images."
        if wrong.empty
        else f"{counted(len(wrong), 'array does', 'arrays do')} not have a row per image and "
        "patch; materialise raw_embeddings again.",
        facts={"arrays": table},
    )


def embeddings_vary(folder: Path, grids: Sequence[Grid]) -> Finding:
    """Check on evenly spaced rows that embeddings are finite and not all the same.

    Parameters
    ----------
    folder : Path
        Folder of the stage `embed`.
    grids : sequence of Grid
        One per member.
    """
    rows = []
    for member in range(len(grids)):
        for split, file, _ in _splits(0, 0):
            array = ArrayFile(member_folder(folder, member) / file)
            chosen = np.unique(np.linspace(0, len(array) - 1, SAMPLED_ROWS).astype(np.int64))
            sample = array.take(chosen).astype(np.float64)
            rows.append(
                {
                    "member": member,
                    "split": split,
                    "rows": len(sample),
                    "finite": bool(np.isfinite(sample).all()),
                    "mean": float(sample.mean()),
                    "mean_norm": float(np.linalg.norm(sample, axis=1).mean()),
                    "constant_dimensions": int((np.ptp(sample, axis=0) == 0).sum()),
                    "constant": bool((np.ptp(sample, axis=0) == 0).all()),
                }
            )
    table = pd.DataFrame(rows)
    bad = table[~table["finite"] | table["constant"]]
    sampled = counted(int(table["rows"].sum()), "sampled embedding")
    if bad.empty:
        sentence = f"The {sampled} are finite and differ from each other."
    else:
        first = bad.iloc[0]
        what = "all the same" if first["constant"] else "not finite"
        sentence = (
            f"The {first['split']} embeddings of member {first['member']} are {what}: its backbone "
            "sees nothing in the images; check its weights and layers, and the images."
        )
    return Finding(bad.empty, sentence, facts={"arrays": table.drop(columns="constant")})


def _splits(train_images: int, test_images: int) -> tuple[tuple[str, str, int], ...]:
    return (("train", TRAIN_EMBEDDINGS, train_images), ("test", TEST_EMBEDDINGS, test_images))
