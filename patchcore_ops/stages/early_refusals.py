"""Mistakes that would stop a later stage, refused before hours of embedding."""

from __future__ import annotations

from collections.abc import Sequence

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.coreset.samplers import sample_count
from patchcore_ops.coreset.shards import picks_of_shards
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.scoring.ensemble import refuse_different_grids
from patchcore_ops.scoring.index_building import foresee_index


def foresee(config: CategoryConfig, grids: Sequence[tuple[int, int]], train_images: int) -> None:
    """Refuse settings that a later stage would refuse, given each member's patch grid.

    The ConfigError has one line per mistake: an empty coreset or shard, more neighbours than picks,
    an index that FAISS cannot build or train, unknown search parameters, grids that differ.
    """
    mistakes: list[str] = []
    shards = config.coreset.shards
    are_too_many = shards > max(train_images, 1)
    if are_too_many:
        mistakes.append(
            f"coreset.shards: {shards} are more than the {train_images} train images; lower it"
        )
    if config.members_have_units:
        try:
            refuse_different_grids(grids)
        except ConfigError as mistake:
            mistakes.append(str(mistake))
    rows = [train_images * height * width for height, width in grids]
    for count in dict.fromkeys(count for count in rows if count):
        picks = sample_count(count, config.coreset)
        if picks == 0:
            mistakes.append(
                f"coreset.percentage: {config.coreset.percentage} of {count} embeddings is not a "
                "single one; raise it"
            )
            continue
        if not are_too_many and 0 in picks_of_shards(count, train_images, config.coreset):
            mistakes.append(
                f"coreset.shards: {shards} share the {picks} rows that the memory bank will hold, "
                "and one gets none; lower it or raise coreset.percentage"
            )
        if config.scoring.anomaly_scorer_num_nn > picks:
            mistakes.append(
                f"scoring.anomaly_scorer_num_nn: asks for {config.scoring.anomaly_scorer_num_nn} "
                f"neighbours, but the memory bank will hold {picks} rows; lower it or raise "
                "coreset.percentage"
            )
        try:
            foresee_index(config.index, picks, config.embedding.target_embed_dimension)
        except ConfigError as mistake:
            mistakes.append(str(mistake))
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
