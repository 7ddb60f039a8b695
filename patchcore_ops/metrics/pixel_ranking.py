"""The pixels of a category's test images, sorted once by groups of images and combined at will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.ranking import Floats, Ranking, rank_positives
from patchcore_ops.metrics.region_overlap import label_regions, missed_regions, weights_of

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PixelSet:
    """The pixels of some images of one label.

    Attributes
    ----------
    rows : ndarray of int64
        Which images these are.
    is_masked : bool
        Whether these images have masks that are not empty.
    white, edge : ndarray of float32
        Scores of the anomalous pixels: those that are so in the reference's masks too, and the
        others, ascending.
    normal : ndarray of float32
        Scores of the other pixels, ascending.
    weights : ndarray of float64
        `region_weights` of the anomalous pixels, first of the white ones.
    missed_regions : ndarray of int64
        Of each image, the connected regions of anomalous pixels none of which is white.
    """

    rows: npt.NDArray[np.int64]
    is_masked: bool
    white: Scores
    edge: Scores
    normal: Scores
    weights: Floats
    missed_regions: npt.NDArray[np.int64]


@dataclass(frozen=True)
class PixelRanking:
    """The pixels of several images, ranked as the metrics need them.

    Attributes
    ----------
    all : Ranking
        Every pixel, labelled by `mask_threshold`, with its `region_weights`.
    reference : Ranking
        Every pixel, labelled for the metrics that the reference prints too.
    reference_in_masked : Ranking
        The same of images with a mask only.
    """

    all: Ranking
    reference: Ranking
    reference_in_masked: Ranking

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
    """Sort the pixels of the images whose truth is known, by label and by whether they have a mask.

    Parameters
    ----------
    anomaly_maps : ndarray of float32, shape [n, H, W]
        May be a memory map: each image is read once.
    mask_levels : ndarray of uint8, shape [n, H, W]
        Grey levels of the ground truth.
    labels : ndarray of str, shape [n]
        Defect type, or one name for all normal images.
    has_truth : ndarray of bool, shape [n]
    settings : MetricsSection
        How masks become binary.

    Returns
    -------
    mapping of (label, is_masked) to PixelSet
    """
    is_masked = mask_levels.any(axis=(1, 2))
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
        normal = np.sort(maps, axis=None)
        return PixelSet(rows, False, nothing, nothing, normal, np.empty(0), np.zeros_like(rows))
    positive = levels >= settings.mask_threshold * 255
    white = levels == 255 if settings.reference_masks else positive
    edge = positive & ~white
    regions = label_regions(positive)
    weights = weights_of(regions)
    order = np.argsort(maps[edge])
    return PixelSet(
        rows,
        True,
        maps[white],
        maps[edge][order],
        np.sort(maps[~positive]),
        np.concatenate([weights[white], weights[edge][order]]),
        missed_regions(regions, white),
    )


def _by_reference(sets: Sequence[PixelSet]) -> Ranking:
    normal = [part for each in sets for part in (each.normal, each.edge)]
    return rank_positives(_joined([each.white for each in sets]), normal)


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0)
