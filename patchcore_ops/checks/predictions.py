"""Checks of the predictions of a category."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from patchcore_ops.checks.finding import NAMED_FILES, Finding, counted, such_as
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.stages.layout import ANOMALY_MAPS

_MAPS_PER_BLOCK = 16
_REMEDY = "materialise test_predictions again"


def one_prediction_per_image(
    images: pd.DataFrame, scores: pd.DataFrame, folder: Path, imagesize: int
) -> Finding:
    """Check that every test image has one score and one map, in the order of the embeddings.

    Parameters
    ----------
    images : DataFrame
        The test rows that were embedded.
    scores : DataFrame
        With the column `path`.
    folder : Path
        Folder of the stage `predict`.
    imagesize : int
        Side of a map.
    """
    expected, found = images["path"].tolist(), scores["path"].tolist()
    missing = sorted(set(expected) - set(found))
    foreign = sorted(set(found) - set(expected))
    shape = ArrayFile(folder / ANOMALY_MAPS).shape
    facts = {"test_images": len(expected), "scores": len(found), "anomaly_maps": shape[0]}
    if missing or foreign or len(found) != len(expected):
        names = missing or foreign or sorted(scores.loc[scores["path"].duplicated(), "path"])
        return Finding(
            False,
            f"There are {counted(len(found), 'score')} for {counted(len(expected), 'test image')} "
            f"({such_as(names)}); {_REMEDY}.",
            facts={**facts, "files": names[:NAMED_FILES]},
        )
    if found != expected:
        return Finding(
            False, f"Scores are not in the order of the embeddings; {_REMEDY}.", facts=facts
        )
    if shape != (len(expected), imagesize, imagesize):
        return Finding(
            False,
            f"The anomaly maps are an array of {' x '.join(map(str, shape))} values instead of "
            f"{len(expected)} x {imagesize} x {imagesize}; {_REMEDY}.",
            facts=facts,
        )
    return Finding(
        True,
        f"Each of the {counted(len(expected), 'test image')} has one score and one map.",
        facts=facts,
    )


def predictions_are_finite(scores: pd.DataFrame, folder: Path) -> Finding:
    """Check that scores and anomaly maps hold neither NaN nor infinity.

    Parameters
    ----------
    scores : DataFrame
        With the columns `path` and `score`.
    folder : Path
        Folder of the stage `predict`.
    """
    bad = scores.loc[~np.isfinite(scores["score"].to_numpy(dtype=np.float64)), "path"].tolist()
    maps = ArrayFile(folder / ANOMALY_MAPS)
    bad_maps = 0
    for block in maps.blocks(_MAPS_PER_BLOCK):
        # A sum is finite only if all that it adds is, and is quicker than looking at each.
        bad_maps += int((~np.isfinite(block.sum(axis=(1, 2), dtype=np.float64))).sum())
    return Finding(
        not bad and not bad_maps,
        "All scores and anomaly maps are finite."
        if not bad and not bad_maps
        else f"{counted(len(bad), 'score is', 'scores are')} and "
        f"{counted(bad_maps, 'map is', 'maps are')} not finite: the index or the embeddings are "
        "damaged; materialise raw_embeddings and what follows it again.",
        facts={
            "scores_not_finite": len(bad),
            "maps_not_finite": bad_maps,
            **({"files": bad[:NAMED_FILES]} if bad else {}),
        },
    )
