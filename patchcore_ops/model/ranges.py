"""The ranges of an ensemble's members, over images that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchcore_ops.model.description import Member, ModelDraft
from patchcore_ops.model.predictor import Model
from patchcore_ops.scoring.maps import Range, extent


def with_ranges(draft: ModelDraft, model: Model, images: Sequence[Path]) -> ModelDraft:
    """Return a draft with each member's range of scores and maps over normal images."""
    members = tuple(
        _with_range(member, alone, images)
        for member, alone in zip(draft.members, model.members_alone(), strict=True)
    )
    scoring = draft.scoring.model_copy(update={"ranges_of": "normal images"})
    return draft.model_copy(update={"members": members, "scoring": scoring})


def _with_range(member: Member, alone: Model, images: Sequence[Path]) -> Member:
    scores: list[float] = []
    maps: list[Range] = []
    for prediction in alone.stream(images):
        scores.append(prediction.score)
        maps.append(extent(prediction.anomaly_map))
    lowest, highest = zip(*maps, strict=True)
    ranges = {"score_range": (min(scores), max(scores)), "map_range": (min(lowest), max(highest))}
    return member.model_copy(update=ranges)
