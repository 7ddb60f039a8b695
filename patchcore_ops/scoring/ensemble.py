"""What the members of an ensemble say together: by ranges over images, or by units.

A unit is a member's mean leave-one-out patch score over normal images. Patch scores divided by it
are comparable between members, so that their mean is scored as one member's would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from patchcore_ops.config.sections import ScoringSection
from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.scoring.maps import Range, Sides, combine, ensemble_maps, image_scores
from patchcore_ops.scoring.padding import Insides, cells_inside

Floats = npt.NDArray[np.float32]


class MemberScales(BaseModel, frozen=True):
    """What the members of an ensemble are scaled by: ranges, or units; one member has neither."""

    # The least and the greatest of each member's image scores and maps, over some images.
    scores: tuple[Range, ...]
    maps: tuple[Range, ...]
    units: tuple[float, ...] = ()

    @staticmethod
    def by_units(units: Sequence[float]) -> MemberScales:
        """Scale by units alone."""
        return MemberScales(scores=(), maps=(), units=tuple(units))


UNSCALED = MemberScales(scores=(), maps=())


class EnsembleScores(NamedTuple):
    """Scores of images, each member's own, which are not scaled, and blocks of anomaly maps."""

    scores: Floats
    of_members: list[Floats]
    maps: Iterator[Floats]


def score_images(
    by_member: Sequence[Floats],
    scales: MemberScales,
    scoring: ScoringSection,
    imagesize: Sides,
    insides: Insides | None = None,
) -> EnsembleScores:
    """Score images by the patch scores, [n, h, w], of one member or of those of an ensemble."""
    of_members = [image_scores(scores, scoring, imagesize, insides) for scores in by_member]
    scores = of_members
    if scales.units:
        by_member = [combined_patch_scores(by_member, scales.units)]
        scores = [image_scores(by_member[0], scoring, imagesize, insides)]
    return EnsembleScores(
        combine(scores, scales.scores),
        of_members,
        ensemble_maps(by_member, imagesize, scoring.smoothing_sigma, scales.maps, insides),
    )


def combined_patch_scores(by_member: Sequence[Floats], units: Sequence[float]) -> Floats:
    """Average the members' patch scores, all of one shape [n, h, w], each divided by its unit.

    Examples
    --------
    >>> scores = [np.array([[[1.0, 3.0]]]), np.array([[[20.0, 10.0]]])]
    >>> combined_patch_scores(scores, [1.0, 10.0])
    array([[[1.5, 2. ]]], dtype=float32)
    """
    refuse_different_grids([scores.shape[1:] for scores in by_member])
    divided = [scores / unit for scores, unit in zip(by_member, units, strict=True)]
    return np.asarray(np.mean(divided, axis=0, dtype=np.float64), dtype=np.float32)


def refuse_different_grids(grids: Sequence[tuple[int, ...]]) -> None:
    """Raise ConfigError if patch scores of members with these grids cannot be added."""
    if len(set(grids)) > 1:
        named = ", ".join(" x ".join(map(str, grid)) for grid in grids)
        raise ConfigError(
            "scoring.ensemble: leave_one_out adds the patch scores of the members, whose grids "
            f"differ ({named}); write scoring.ensemble: min_max, or first layers of equal stride"
        )


def unit_of(scores: Floats, imagesize: Sides, insides: Insides | None = None) -> float:
    """Return the mean of a member's leave-one-out patch scores, shape [n, h, w]; NaN if unknown.

    Patches without neighbours, which are NaN, and those of the padding do not count.
    """
    values = scores.astype(np.float64)
    if insides is not None:
        cells = cells_inside(values.shape[1:], height_and_width(imagesize), insides)
        values = np.concatenate(
            [one[inside].ravel() for one, inside in zip(values, cells, strict=True)]
        )
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
