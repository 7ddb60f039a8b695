"""Concurrency pools and devices: what must not run at the same time on one machine.

`dagster.yaml` gives every pool one place; `dagster instance concurrency set` changes that. The
steps of a run share a process, so the queue starts a run when every pool of its steps has a place.
`dagster asset materialize` has no queue.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.runtime.devices import has_gpu_driver

GPU = "gpu"
CPU_HEAVY = "cpu_heavy"
POOLS = (GPU, CPU_HEAVY)
DEVICE_TAG = "patchcore/device"
# Where Ray starts the runs, it starts one with this tag where a GPU is free.
ON_A_GPU = {"dagster-ray/config": '{"num_gpus": 1}'}


def expects_gpu(device: str) -> bool:
    """Tell whether `runtime.device` means a GPU here; `auto` does if there is a driver."""
    return has_gpu_driver() if device == "auto" else device != "cpu"


def pool_of(device: str, runtime: RuntimeSection) -> str:
    """Return the pool of a step that computes on a device; `runtime.pool` says it if given.

    The pool is settled where the definitions load: the machine there may have no GPU while those
    that do the work have.
    """
    if runtime.pool != "auto":
        return runtime.pool
    return GPU if expects_gpu(device) else CPU_HEAVY


def tags_of_runs(assets: Iterable[dg.AssetsDefinition]) -> dict[str, str]:
    """Return the tags that runs of assets need to get what their pools stand for."""
    return dict(ON_A_GPU) if any(asset.op.pool == GPU for asset in assets) else {}


def create_pools(instance: dg.DagsterInstance) -> None:
    """Give pools that do not exist the instance's default limit.

    Dagster makes a pool when a step first asks for it, so the first look through the queue of a
    fresh history would see no limit and start all runs at once.
    """
    log = instance.event_log_storage
    if not log.supports_global_concurrency_limits:
        return
    for name in sorted(set(POOLS) - set(log.get_concurrency_keys())):
        log.initialize_concurrency_limit_to_default(name)
