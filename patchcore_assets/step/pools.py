"""Concurrency pools and devices: what runs must not do at the same time on one machine.

`dagster.yaml` gives every pool one place; with `DAGSTER_HOME` set to its folder, `dagster instance
concurrency set cpu_heavy 4` gives a pool more. The steps of a run share one process, so Dagster
counts whole runs: the run queue starts a run when there is a place in every pool that its steps
name. A run that is started by `dagster asset materialize` has no queue and is not held back.
"""

from __future__ import annotations

import dagster as dg

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.runtime.devices import device_name, has_gpu_driver

GPU = "gpu"
CPU_HEAVY = "cpu_heavy"
DEVICE_TAG = "patchcore/device"

_ON_THE_DEVICE = frozenset({"raw_embeddings", "memory_bank"})
_SEARCH = frozenset({"test_predictions"})
_ON_THE_CPU = frozenset({"faiss_index", "category_metrics"})


def expects_gpu(device: str) -> bool:
    """Tell whether `runtime.device` means a GPU here; `auto` does where there is a driver."""
    return has_gpu_driver() if device == "auto" else device != "cpu"


def pool_of(asset: str, runtime: RuntimeSection) -> str | None:
    """Return the pool of an asset's step, None for those that take little of the machine."""
    if asset in _ON_THE_DEVICE:
        return GPU if expects_gpu(_device_setting(asset, runtime)) else CPU_HEAVY
    if asset in _SEARCH:
        return GPU if runtime.faiss_on_gpu else CPU_HEAVY
    return CPU_HEAVY if asset in _ON_THE_CPU else None


def device_tag(asset: str, runtime: RuntimeSection) -> dict[str, str]:
    """Return the run tag that names the device a step really computes on, if it computes on one.

    Raises
    ------
    EnvironmentProblem
        If the configured device is not there.
    """
    return {DEVICE_TAG: device_of(asset, runtime)} if asset in _ON_THE_DEVICE else {}


def device_of(asset: str, runtime: RuntimeSection) -> str:
    """Return the device that an asset's step really computes on.

    Raises
    ------
    EnvironmentProblem
        If the configured device is not there.
    """
    if asset not in _ON_THE_DEVICE:
        return "cuda" if asset in _SEARCH and runtime.faiss_on_gpu else "cpu"
    return device_name(_device_setting(asset, runtime))


def _device_setting(asset: str, runtime: RuntimeSection) -> str:
    """Return `runtime.device` as it holds for a step: OpenVINO computes on the CPU."""
    is_openvino = asset == "raw_embeddings" and runtime.engine == "openvino"
    return "cpu" if is_openvino else runtime.device


def with_pool(asset: dg.AssetsDefinition, runtime: RuntimeSection) -> dg.AssetsDefinition:
    """Put an asset's step into its pool.

    `dg.asset` takes a pool when the module is imported, which is before there is a configuration
    that says where the step computes.
    """
    op = asset.op
    pool = pool_of(asset.key.to_user_string(), runtime)
    if pool is None:
        return asset
    pooled = dg.OpDefinition(
        compute_fn=op.compute_fn,
        name=op.name,
        ins={one.name: dg.In.from_definition(one) for one in op.input_defs},
        outs={one.name: dg.Out.from_definition(one) for one in op.output_defs},
        description=op.description,
        config_schema=op.config_schema,
        required_resource_keys=set(op.required_resource_keys),
        tags=op.tags,
        retry_policy=op.retry_policy,
        pool=pool,
    )
    return dg.AssetsDefinition.dagster_internal_init(
        **{**asset.get_attributes_dict(), "node_def": pooled}
    )
