"""One configuration for all machines on which runs are started.

The snapshot of its job, which every run has however it was started, holds the defaults of the
resources, and so the hash of the configuration that the launching code location has read. Where
another run launcher than Dagster's own starts runs, a run that reads another configuration is
refused: two machines with different files would make each other's versions stale without end.
On one machine a run reads the file as it is when it begins.
"""

from __future__ import annotations

import json

import dagster as dg

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.results_hash import results_hash
from patchcore_ops.runtime.errors import ConfigError

# The resource and the field that hold the hash.
RESOURCE = "benchmark"
CONFIGURATION_HASH = "configuration_hash"

_ON_THIS_MACHINE = "DefaultRunLauncher"
# A run that fails in a step is not started again where this tag says so.
_RETRIED_AFTER_STEP = "dagster/retry_on_asset_or_op_failure"


def starts_runs_elsewhere(instance: dg.DagsterInstance) -> bool:
    """Tell whether the runs of an instance are started on other machines, or may be."""
    if instance.is_ephemeral:
        return False
    # By its name: to make the launcher, a node would need all that the head needs for it.
    launcher = instance.get_ref().run_launcher_data
    return launcher is not None and launcher.class_name != _ON_THIS_MACHINE


def read_as_launched(
    instance: dg.DagsterInstance, run: dg.DagsterRun, file: str
) -> BenchmarkConfig:
    """Read the configuration for a run; refuse another than the run was launched with.

    Raises
    ------
    ConfigError
        If it is another, and runs are started on other machines.
    """
    config = load_config(file)
    if not starts_runs_elsewhere(instance):
        return config
    launched, own = _launched_with(instance, run), results_hash(config)
    if launched in (None, own):
        return config
    instance.add_run_tags(run.run_id, {_RETRIED_AFTER_STEP: "false"})
    raise ConfigError(
        f"{config.path}: settings, weights or storage.root are not those that the run was launched "
        f"with ({own} instead of {launched}), so nothing was done; give all nodes one "
        "configuration, such as a URL in PATCHCORE_CONFIG, reload the code location if it was "
        "edited, and start a new run"
    )


def _launched_with(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return the hash in the snapshot of a run's job; None if an earlier release made it."""
    if run.job_snapshot_id is None:
        return None
    for mode in instance.get_job_snapshot(run.job_snapshot_id).mode_def_snaps:
        for resource in mode.resource_def_snaps:
            field = resource.config_field_snap
            if resource.name == RESOURCE and field and field.default_value_as_json_str:
                content: dict[str, str] = json.loads(field.default_value_as_json_str)
                return content.get(CONFIGURATION_HASH)
    return None
