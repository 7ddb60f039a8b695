"""Concurrency pools and devices: what runs must not do at the same time on one machine.

`dagster.yaml` gives every pool one place; with `DAGSTER_HOME` set to its folder, `dagster instance
concurrency set cpu_heavy 4` gives a pool more. The steps of a run share one process, so Dagster
counts whole runs: the run queue starts a run when there is a place in every pool that its steps
name. A run that is started by `dagster asset materialize` has no queue and is not held back.
"""

from __future__ import annotations

from patchcore_ops.runtime.devices import has_gpu_driver

GPU = "gpu"
CPU_HEAVY = "cpu_heavy"
DEVICE_TAG = "patchcore/device"


def expects_gpu(device: str) -> bool:
    """Tell whether `runtime.device` means a GPU here; `auto` does where there is a driver."""
    return has_gpu_driver() if device == "auto" else device != "cpu"


def pool_of(device: str) -> str:
    """Return the pool of a step that computes on a device, as `runtime.device` names it."""
    return GPU if expects_gpu(device) else CPU_HEAVY
