"""Figures that only the run history has: how long a step took, how large a bank is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

_RUN_ID = ".run_id"
_LATEST = 10


def figures_of(
    instance: dg.DagsterInstance,
    category: str,
    lineage: Mapping[str, str],
    wanted: Mapping[str, Mapping[str, str]],
) -> dict[str, float]:
    """Return the seconds of each asset that results go back to, and what else is wanted.

    `wanted` maps an asset to names of its metadata, and these to what they are called here. What
    was made with another run history is left out, and the seconds of what was not computed.
    """
    figures = {}
    for key, run_id in lineage.items():
        if key.endswith(_RUN_ID):
            asset = key.removesuffix(_RUN_ID)
            metadata = _metadata(instance, asset, category, run_id)
            names = dict(wanted.get(asset, {}))
            if "taken_over" not in metadata:
                names["seconds"] = f"seconds/{asset}"
            for name, shown in names.items():
                value = metadata[name].value if name in metadata else None
                if isinstance(value, int | float):
                    figures[shown] = float(value)
    return figures


def _metadata(
    instance: dg.DagsterInstance, asset: str, category: str, run_id: str
) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return what a run has reported of an asset; nothing if that is not in the history."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), [category])
    for record in instance.fetch_materializations(wanted, limit=_LATEST).records:
        if record.run_id == run_id and record.asset_materialization is not None:
            return record.asset_materialization.metadata
    return {}
