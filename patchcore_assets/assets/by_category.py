"""What every asset that is partitioned by category has in common."""

from __future__ import annotations

from typing import Any, TypedDict

import dagster as dg

from patchcore_assets.automation.conditions import rebuild_when_stale
from patchcore_assets.step.one_category import ONE_CATEGORY_A_RUN
from patchcore_ops.config import BenchmarkConfig


class ByCategory(TypedDict):
    """Arguments of `dg.asset`."""

    partitions_def: dg.PartitionsDefinition[str]
    backfill_policy: dg.BackfillPolicy
    automation_condition: dg.AutomationCondition[Any]


def categories(config: BenchmarkConfig) -> dg.PartitionsDefinition[str]:
    """Return the categories of a configuration as partitions."""
    return dg.StaticPartitionsDefinition(list(config.categories))


def by_category(config: BenchmarkConfig) -> ByCategory:
    """Return the arguments of `dg.asset` for an asset that is partitioned by category."""
    return {
        "partitions_def": categories(config),
        "backfill_policy": ONE_CATEGORY_A_RUN,
        "automation_condition": rebuild_when_stale(),
    }
