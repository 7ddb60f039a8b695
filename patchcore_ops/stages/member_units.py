"""The units by which the members of an ensemble become comparable, see `scoring.ensemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.crop import insides_of
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.scoring.ensemble import refuse_different_grids, unit_of
from patchcore_ops.stages import layout
from patchcore_ops.stages.leave_one_out import leave_one_out_scores, sampled
from patchcore_ops.stages.raw_embeddings import Grid

# Each has hundreds of patches: from draw to draw, units move by 0.1 % against each other.
UNIT_IMAGES: Final = 10


def member_units(
    embeddings: Path, bank: Path, indices: Path, config: CategoryConfig, runtime: RuntimeSection
) -> tuple[float, ...]:
    """Return each member's mean leave-one-out patch score over train images.

    Raises ConfigError if the members' grids differ, or there are no distances between train images.
    """
    folders = layout.member_folders(embeddings, len(config.embedding.members))
    grids = [Grid.read(folder) for folder in folders]
    refuse_different_grids([(grid.height, grid.width) for grid in grids])
    images = layout.read_images(embeddings)
    train = images[images["split"] == "train"]
    chosen = sampled(len(train), UNIT_IMAGES, config.coreset.seed)
    insides = insides_of(train.iloc[chosen], config.dataset)
    by_member = leave_one_out_scores(embeddings, bank, indices, config, runtime, chosen)
    units = tuple(unit_of(scores, config.dataset.crop_size, insides) for scores in by_member)
    if not all(unit > 0 for unit in units):
        raise ConfigError(
            "scoring.ensemble: leave_one_out compares train images with each other, and these do "
            "not differ or are too few; add train images, or write scoring.ensemble: min_max"
        )
    return units
