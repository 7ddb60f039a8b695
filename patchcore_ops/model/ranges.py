"""The ranges of an ensemble's members, over images that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from patchcore_ops.model.description import ModelDraft
from patchcore_ops.model.predictor import Model
from patchcore_ops.scoring.maps import extent, image_scores, map_extents


def with_ranges(draft: ModelDraft, model: Model, images: Sequence[Path]) -> ModelDraft:
    """Return a draft with each member's range of scores and maps over normal images."""
    scored = [of_members for _, of_members in model.patch_scores(images)]
    by_member = [np.concatenate(of_images) for of_images in zip(*scored, strict=True)]
    rule, size = model.description.scoring_section, draft.preprocessing.imagesize
    maps = map_extents(by_member, size, rule.smoothing_sigma)
    members = tuple(
        member.model_copy(
            update={"score_range": extent(image_scores(scores, rule, size)), "map_range": of_maps}
        )
        for member, scores, of_maps in zip(draft.members, by_member, maps, strict=True)
    )
    scoring = draft.scoring.model_copy(update={"ranges_of": "normal images"})
    return draft.model_copy(update={"members": members, "scoring": scoring})
