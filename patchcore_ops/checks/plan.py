"""Whether a category fits this machine, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from patchcore_ops.checks.finding import Finding
from patchcore_ops.runtime.machine import Machine
from patchcore_ops.stages.plan import LESS_MEMORY, StagePlan

NOT_KNOWN = (
    "not known before the network has been exported once, as happens with the first category"
)


def fits_this_machine(plan: Sequence[StagePlan], machine: Machine) -> Finding:
    """Check that no stage needs more memory than there is, nor all of them more disk."""
    disk = sum(stage.disk or 0 for stage in plan)
    beyond = [stage for stage in plan if (stage.memory or 0) > machine.memory]
    sentences = []
    if beyond:
        needs = " and ".join(f"{_gb(stage.memory)} for {stage.stage}" for stage in beyond)
        advice = dict.fromkeys(way for stage in beyond for way in LESS_MEMORY[stage.stage])
        sentences.append(
            f"This category takes about {needs}, and a process of {machine.host} has "
            f"{_gb(machine.memory)} of memory: {' or '.join(advice)}."
        )
    if disk > machine.disk:
        sentences.append(
            f"Its artefacts take about {_gb(disk)}, and {_gb(machine.disk)} of disk are free: set "
            "embedding.storage: float16, lower coreset.percentage, or give the storage a larger "
            "disk."
        )
    passed = f"By estimate, every stage fits the memory and the disk of {machine.host}."
    if any(stage.memory is None for stage in plan):
        passed = f"What the stages take is {NOT_KNOWN}."
    return Finding.of(
        not sentences,
        passed,
        " ".join(sentences),
        {
            "host": machine.host,
            "processors": machine.processors,
            "memory_bytes": machine.memory,
            "free_disk_bytes": machine.disk,
            "stages": pd.DataFrame([asdict(stage) for stage in plan]).astype(
                {"rows": float, "disk": float, "memory": float, "seconds": float}
            ),
        },
        is_error=False,
    )


def _gb(size: int | None) -> str:
    return f"{(size or 0) / 1e9:,.3g} GB"
