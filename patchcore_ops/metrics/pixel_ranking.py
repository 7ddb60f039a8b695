"""The pixels of a category's test images, sorted once by groups of images, to be combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.ranking import (
    Floats,
    Ranking,
    rank_positives,
    sorted_numbers,
    unseen_is_missed,
)
from patchcore_ops.metrics.region_overlap import label_regions, missed_regions, weights_of

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PixelSet:
    """The pixel scores of images of one label, all with a mask that is not empty or all without."""

    rows: npt.NDArray[np.int64]  # positions of the images
    is_masked: bool
    white: Scores  # anomalous in the reference's masks too
    edge: Scores  # anomalous by `mask_threshold` alone, ascending
    normal: Scores  # ascending
    weights: Floats  # `region_weights` of white, then of edge
    missed_regions: npt.NDArray[np.int64]  # for each image, its regions without a white pixel


@dataclass(frozen=True)
class PixelRanking:
    """The pixels of several images, ranked as the metrics need them."""

    all: Ranking  # labelled by `mask_threshold`, weighted by `region_weights`
    reference: Ranking  # labelled by the reference's rule
    reference_in_masked: Ranking  # the same, over the images with a mask

    @staticmethod
    def of(sets: Sequence[PixelSet]) -> PixelRanking:
        """Rank the pixels of some sets together."""
        return PixelRanking(
            rank_positives(
                _joined([part for each in sets for part in (each.white, each.edge)]),
                [each.normal for each in sets],
                _joined([each.weights for each in sets]),
            ),
            _by_reference(sets),
            _by_reference([each for each in sets if each.is_masked]),
        )


def pixel_sets(
    anomaly_maps: npt.NDArray[np.float32],
    mask_levels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.str_],
    has_truth: npt.NDArray[np.bool_],
    settings: MetricsSection,
) -> Mapping[tuple[str, bool], PixelSet]:
    """Sort the pixels of the images with known truth, by label and by whether they have a mask.

    `anomaly_maps`, shape [n, H, W], may be a memory map: each image is read once. Their NaN is
    padding outside of the image.
    """
    # The reference takes any trace of a mask for one, though only white counts as anomalous.
    marks = mask_levels if settings.reference_masks else is_anomalous(mask_levels, settings)
    is_masked = marks.any(axis=(1, 2))
    sets = {}
    for label in np.unique(labels[has_truth]):
        for masked in (False, True):
            chosen = np.flatnonzero(has_truth & (labels == label) & (is_masked == masked))
            if len(chosen):
                sets[str(label), masked] = _sorted(
                    chosen, np.asarray(anomaly_maps[chosen]), mask_levels[chosen], masked, settings
                )
    return sets


def _sorted(
    rows: npt.NDArray[np.int64],
    maps: Scores,
    levels: npt.NDArray[np.uint8],
    is_masked: bool,
    settings: MetricsSection,
) -> PixelSet:
    if not is_masked:
        nothing = np.empty(0, dtype=maps.dtype)
        normal = sorted_numbers(maps)
        return PixelSet(rows, False, nothing, nothing, normal, np.empty(0), np.zeros_like(rows))
    positive = is_anomalous(levels, settings)
    white = levels == 255 if settings.reference_masks else positive
    edge = positive & ~white
    regions = label_regions(positive)
    weights = weights_of(regions)
    of_white, of_edge = unseen_is_missed(maps[white]), unseen_is_missed(maps[edge])
    order = np.argsort(of_edge)
    return PixelSet(
        rows,
        True,
        of_white,
        of_edge[order],
        sorted_numbers(maps[~positive]),
        np.concatenate([weights[white], weights[edge][order]]),
        missed_regions(regions, white),
    )


def is_anomalous(levels: npt.NDArray[np.uint8], settings: MetricsSection) -> npt.NDArray[np.bool_]:
    """Tell which grey levels of masks mark a defect."""
    return np.asarray(levels >= settings.mask_threshold * 255)


def _by_reference(sets: Sequence[PixelSet]) -> Ranking:
    normal = [part for each in sets for part in (each.normal, each.edge)]
    return rank_positives(_joined([each.white for each in sets]), normal)


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0)
