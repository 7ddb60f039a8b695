"""What is known of the networks before any is opened: their patch grids and what they cost."""

from __future__ import annotations

import math
from typing import NamedTuple

from patchcore_ops.backbones.costs import cost_of
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.embedding.exported_network import (
    ExportedNetwork,
    NetworkStore,
    network_settings,
)
from patchcore_ops.runtime.errors import WeightsError
from patchcore_ops.runtime.fingerprints import HashOf


class KnownNetwork(NamedTuple):
    """Of one member: the patches of an image, and its multiplications if they are known."""

    patches: int
    multiplications: float | None


def known_networks(
    config: CategoryConfig, networks: NetworkStore, hash_of: HashOf
) -> list[KnownNetwork | None]:
    """Return what is known of each member: of common backbones, and of what was exported before.

    Nothing is loaded or computed for it.
    """
    known = []
    for number, member in enumerate(config.embedding.members):
        cost = cost_of(member.backbone, member.layers, config.dataset.sides)
        if cost is None:
            known.append(_exported_before(config, number, networks, hash_of))
        else:
            known.append(KnownNetwork(math.prod(cost.grid), cost.multiplications))
    return known


def _exported_before(
    config: CategoryConfig, member: int, networks: NetworkStore, hash_of: HashOf
) -> KnownNetwork | None:
    try:
        settings = network_settings(config, member, hash_of)
    except (WeightsError, OSError):
        return None  # Who loads the weights says what is wrong with them.
    with networks.kept(settings.identity) as folder:
        if folder is None:
            return None
        height, width = ExportedNetwork.read(folder).grid
    return KnownNetwork(height * width, None)
