"""Figures that only the run history has: how long a step took, how large a bank is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

_RUN_ID = ".run_id"
_LATEST = 10
# By asset, the figures of its materialisation and what to call them; all have their seconds.
_FIGURES = {"memory_bank": {"picks": "bank_rows", "coverage_radius": "coverage_radius"}}


def figures_of(
    instance: dg.DagsterInstance, category: str, lineage: Mapping[str, str]
) -> dict[str, float]:
    """Return the seconds of each asset that results go back to, and the rows of their bank.

    What was made with another run history is left out.
    """
    figures = {}
    for key, run_id in lineage.items():
        if key.endswith(_RUN_ID):
            asset = key.removesuffix(_RUN_ID)
            metadata = _metadata(instance, asset, category, run_id)
            names = {"seconds": f"seconds/{asset}", **_FIGURES.get(asset, {})}
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
