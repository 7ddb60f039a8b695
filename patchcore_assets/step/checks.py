"""The asset checks: how an asset declares them, and how a finding is shown.

The step that makes an asset evaluates its checks before the new version becomes current, so every
materialisation is checked. A failed `blocking` check of severity ERROR refuses the version: it is
kept aside, its checks are reported, the step fails, and the version before stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import dagster as dg

from patchcore_assets.step.presentation import table

if TYPE_CHECKING:
    from patchcore_ops.checks.finding import Fact, Finding

    CheckedResult: TypeAlias = dg.MaterializeResult[Any]
else:
    # Of an asset with checks, Dagster understands no annotation but the bare class.
    CheckedResult = dg.MaterializeResult


class Check(NamedTuple):
    """One check: its name, its description in the UI, and whether its error refuses a version."""

    name: str
    description: str
    blocking: bool = False


def specs(
    asset: str, checks: Iterable[Check], partitions: dg.PartitionsDefinition[str] | None = None
) -> list[dg.AssetCheckSpec]:
    """Return the checks of an asset, as `dg.asset` takes them.

    With `partitions`, each category has a result; otherwise the latest would stand for all.
    """
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=asset,
            description=check.description,
            blocking=check.blocking,
            partitions_def=partitions,
        )
        for check in checks
    ]


def results(findings: Mapping[str, Finding]) -> list[dg.AssetCheckResult]:
    """Return the results of an asset's checks."""
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=finding.passed,
            severity=dg.AssetCheckSeverity.ERROR
            if finding.is_error
            else dg.AssetCheckSeverity.WARN,
            description=finding.sentence,
            metadata={key: _shown(fact) for key, fact in finding.facts.items()},
        )
        for name, finding in findings.items()
    ]


def refusals(asset: dg.AssetsDefinition, findings: Mapping[str, Finding]) -> list[str]:
    """Return the sentences of the blocking checks that refuse an asset's new version."""
    return [
        finding.sentence
        for name, finding in findings.items()
        if finding.is_error
        and not finding.passed
        and asset.get_spec_for_check_key(dg.AssetCheckKey(asset.key, name)).blocking
    ]


def log_findings(log: logging.Logger, findings: Mapping[str, Finding]) -> None:
    """Log the findings of failed checks."""
    for name, finding in findings.items():
        if not finding.passed:
            (log.error if finding.is_error else log.warning)(f"{name} failed: {finding.sentence}")


def _shown(fact: Fact) -> dg.MetadataValue[Any]:
    import pandas as pd

    if isinstance(fact, bool):
        return dg.MetadataValue.bool(fact)
    if isinstance(fact, int):
        return dg.MetadataValue.int(fact)
    if isinstance(fact, float):
        return dg.MetadataValue.float(fact)
    if isinstance(fact, str):
        return dg.MetadataValue.text(fact)
    if isinstance(fact, pd.DataFrame):
        return table(fact)
    return dg.MetadataValue.json(list(fact))
