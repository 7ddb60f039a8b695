"""The name of a group of runs, as the reference's users write it."""

from __future__ import annotations

import re
from decimal import Decimal

from patchcore_ops.backbones.names import REFERENCE_NAMES
from patchcore_ops.config.sections import CategoryConfig

_SHORT = {"wide_resnet50_2": "WR50", "wide_resnet101_2": "WR101"}
_STAGE = re.compile(r"layer([0-9]+)")


def group_name(settings: CategoryConfig) -> str:
    """Name a group of runs by the settings that tell benchmarks apart.

    These are image size, backbone, layers, share of the patches that is kept, dimensions, patch
    size, nearest neighbours and seed.

    Examples
    --------
    >>> group_name(CategoryConfig())
    'IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1_S0'
    """
    embedding = settings.embedding
    layers = dict.fromkeys(layer for member in embedding.members for layer in member.layers)
    return "_".join(
        (
            f"IM{_sides(settings)}",
            _backbone(embedding.members[0].backbone) if len(embedding.members) == 1 else "Ensemble",
            f"L{_layers(list(layers))}",
            f"P{_without_point(settings.coreset.percentage)}",
            f"D{embedding.pretrain_embed_dimension}-{embedding.target_embed_dimension}",
            f"PS-{embedding.patchsize}",
            f"AN-{settings.scoring.anomaly_scorer_num_nn}",
            f"S{settings.coreset.seed}",
        )
    )


def _sides(settings: CategoryConfig) -> str:
    """Write the side of a square, or height and width."""
    if settings.dataset.imagesize == "auto":
        return "auto"
    return "x".join(map(str, dict.fromkeys(settings.dataset.crop_size)))


def _backbone(name: str) -> str:
    architecture = REFERENCE_NAMES.get(name, name).partition(".")[0]
    return _SHORT.get(architecture, name)


def _layers(names: list[str]) -> str:
    stages = [_STAGE.fullmatch(name) for name in names]
    return "-".join(
        name if stage is None else stage[1] for name, stage in zip(names, stages, strict=True)
    )


def _without_point(share: float) -> str:
    """Write 0.1 as 01 and 0.01 as 001."""
    return f"{Decimal(str(share)):f}".rstrip("0").replace(".", "") or "0"
