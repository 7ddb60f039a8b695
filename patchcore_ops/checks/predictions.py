"""Checks of the predictions of a category."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from patchcore_ops.checks.finding import Finding, counted, such_as
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.scoring.padding import Insides
from patchcore_ops.stages.layout import ANOMALY_MAPS

_MAPS_PER_BLOCK = 16


def one_prediction_per_image(
    images: pd.DataFrame, scores: pd.DataFrame, folder: Path, map_size: tuple[int, int]
) -> Finding:
    """Check that every embedded test image has one score and one map, in the same order."""
    expected, found = images["path"].tolist(), scores["path"].tolist()
    missing = sorted(set(expected) - set(found))
    foreign = sorted(set(found) - set(expected))
    shape = ArrayFile(folder / ANOMALY_MAPS).shape
    names, problem = [], ""
    if missing or foreign or len(found) != len(expected):
        names = missing or foreign or sorted(scores.loc[scores["path"].duplicated(), "path"])
        problem = (
            f"There are {counted(len(found), 'score')} for {counted(len(expected), 'test image')} "
            f"({such_as(names)})"
        )
    elif found != expected:
        problem = "Scores are not in the order of the embeddings"
    elif shape != (len(expected), *map_size):
        problem = (
            f"The anomaly maps are an array of {' x '.join(map(str, shape))} values instead of "
            f"{len(expected)} x {' x '.join(map(str, map_size))}"
        )
    return Finding.of(
        not problem,
        f"Each of the {counted(len(expected), 'test image')} has one score and one map.",
        f"{problem}; materialise test_predictions again.",
        {"test_images": len(expected), "scores": len(found), "anomaly_maps": shape[0]},
        names,
    )


def predictions_are_finite(
    scores: pd.DataFrame, folder: Path, insides: Insides | None = None
) -> Finding:
    """Check that scores and anomaly maps hold neither NaN nor infinity, but for the padding."""
    bad = scores.loc[~np.isfinite(scores["score"].to_numpy(dtype=np.float64)), "path"].tolist()
    maps = ArrayFile(folder / ANOMALY_MAPS).blocks(_MAPS_PER_BLOCK)
    if insides is None:
        # A sum is finite only if all its terms are, and is quicker than testing each.
        sums = [block.sum(axis=(1, 2), dtype=np.float64) for block in maps]
        bad_maps = int((~np.isfinite(np.concatenate(sums))).sum())
    else:
        finite = np.concatenate([np.isfinite(block).sum(axis=(1, 2)) for block in maps])
        areas = np.prod(insides[:, 2:] - insides[:, :2], axis=1)
        bad_maps = int((finite != areas).sum())
    return Finding.of(
        not bad and not bad_maps,
        "All scores and anomaly maps are finite.",
        f"{counted(len(bad), 'score is', 'scores are')} and "
        f"{counted(bad_maps, 'map is', 'maps are')} not finite: the index or the embeddings are "
        "damaged; materialise raw_embeddings and what follows it again.",
        {"scores_not_finite": len(bad), "maps_not_finite": bad_maps},
        bad,
    )
