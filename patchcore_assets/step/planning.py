"""What the stages of a category will take, as the page of its manifest shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from patchcore_ops.checks.plan import NOT_KNOWN
from patchcore_ops.runtime.machine import Machine
from patchcore_ops.stages.plan import StagePlan

if TYPE_CHECKING:
    import pandas as pd

    from patchcore_assets.step.work import Work

_UNITS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


def planned(work: Work, manifest: pd.DataFrame) -> tuple[list[StagePlan], Machine]:
    """Plan the stages of a step's category on this machine."""
    from patchcore_ops.embedding.known_networks import known_networks
    from patchcore_ops.runtime.machine import this_machine
    from patchcore_ops.stages.plan import Images, plan_stages

    machine = this_machine(work.output)
    known = known_networks(work.settings, work.networks, work.hash_of)
    images = Images.of(manifest)
    return plan_stages(images, known, work.settings, work.runtime, machine), machine


def plan_table(plan: Sequence[StagePlan], machine: Machine) -> dg.MarkdownMetadataValue:
    """Show a plan, short enough to be shown in place."""
    lines = ["| stage | rows | disk | memory | time |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {stage.stage} | {_count(stage.rows)} | {_size(stage.disk)} | {_size(stage.memory)} "
        f"| {duration(stage.seconds)} |"
        for stage in plan
    ]
    processors = "1 processor" if machine.processors == 1 else f"{machine.processors} processors"
    lines += [
        "",
        f"Estimated on {machine.host} ({processors}, {_size(machine.memory)} of memory, "
        f"{_size(machine.disk)} of disk free); a time may be off by a factor of two.",
    ]
    if any(stage.memory is None for stage in plan):
        lines.append(f"A dash is {NOT_KNOWN}.")
    return dg.MetadataValue.md("\n".join(lines))


def duration(seconds: float | None) -> str:
    """Say how long, with two digits.

    Examples
    --------
    >>> duration(0.4), duration(5400.0)
    ('0.4 s', '1.5 h')
    """
    if seconds is None:
        return "\u2013"
    for size, unit in _UNITS:
        if seconds >= 2 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"


def _count(rows: int | None) -> str:
    return "\u2013" if rows is None else f"{rows:,}"


def _size(size: int | None) -> str:
    if size is None:
        return "\u2013"
    return f"{size / 1e9:,.3g} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
