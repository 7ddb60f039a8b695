"""Checks of the patch embeddings on a sample; each value was checked while it was computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from patchcore_ops.checks.finding import Finding, counted
from patchcore_ops.runtime.rows import open_rows
from patchcore_ops.stages.earlier_rows import FILES
from patchcore_ops.stages.layout import member_folder
from patchcore_ops.stages.raw_embeddings import Grid

SAMPLED_ROWS = 256


def every_patch_has_an_embedding(
    folder: Path, grids: Sequence[Grid], train_images: int, test_images: int
) -> Finding:
    """Check that there is one row per image and patch, for every member."""
    rows = []
    for member, grid in enumerate(grids):
        for split, images in (("train", train_images), ("test", test_images)):
            found = open_rows(member_folder(folder, member) / FILES[split]).shape
            expected = (images * grid.patches, grid.dimension)
            rows.append(
                (member, split, " x ".join(map(str, expected)), " x ".join(map(str, found)))
            )
    table = pd.DataFrame(rows, columns=["member", "split", "expected", "found"])
    wrong = table[table["expected"] != table["found"]]
    return Finding.of(
        wrong.empty,
        f"There is an embedding for each patch of the {train_images + test_images:,} images.",
        f"{counted(len(wrong), 'array does', 'arrays do')} not have a row per image and patch; "
        "materialise raw_embeddings again.",
        {"arrays": table},
    )


def embeddings_vary(folder: Path, grids: Sequence[Grid]) -> Finding:
    """Check on evenly spaced rows that embeddings are finite and not all the same."""
    rows = []
    for member in range(len(grids)):
        for split, file in FILES.items():
            array = open_rows(member_folder(folder, member) / file)
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
                    # One row alone differs from nothing.
                    "constant": len(sample) > 1 and bool((np.ptp(sample, axis=0) == 0).all()),
                }
            )
    table = pd.DataFrame(rows)
    bad = table[~table["finite"] | table["constant"]]
    sampled = counted(int(table["rows"].sum()), "sampled embedding")
    first = (table if bad.empty else bad).iloc[0]
    return Finding.of(
        bad.empty,
        f"The {sampled} are finite and differ from each other.",
        f"The {first['split']} embeddings of member {first['member']} are "
        f"{'all the same' if first['constant'] else 'not finite'}: its backbone sees nothing in "
        "the images; check its weights and layers, and the images.",
        {"arrays": table.drop(columns="constant")},
    )
