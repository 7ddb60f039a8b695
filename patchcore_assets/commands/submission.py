"""A wave in the queue of the instance: the same runs that the schedule requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

# What `dagster job launch` creates.
from dagster._cli.job import _create_run
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import (
    ModuleTarget,
    WorkspaceFileTarget,
    WorkspaceLoadTarget,
)

from patchcore_assets.automation.backfills import BENCHMARK_JOB, new_wave_name
from patchcore_assets.automation.waves import PARTITION, tags_of_wave
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem

_WORKSPACE = "workspace.yaml"
_MODULE = "patchcore_assets"


def submit_wave(instance: dg.DagsterInstance, categories: Sequence[str]) -> str:
    """Queue a run for each category; return the name of the wave.

    The code location is that of `workspace.yaml` in the current folder, or this installation's.

    Raises
    ------
    EnvironmentProblem
        If no code location can be loaded.
    ConfigError
        If it does not have one of the categories.
    """
    wave = new_wave_name()
    tags = tags_of_wave(wave, len(categories))
    with WorkspaceProcessContext(instance, _load_target()) as process:
        workspace = process.create_request_context()
        location, repository = _with_benchmark(workspace)
        _refuse_others(categories, instance, workspace, location, repository)
        runs = [
            _create_run(
                instance,
                location,
                repository,
                repository.get_full_job(BENCHMARK_JOB),
                run_config={},
                tags={**tags, PARTITION: category},
                op_selection=None,
                run_id=None,
            )
            for category in categories
        ]
        for run in runs:
            instance.submit_run(run.run_id, workspace)
    return wave


def _load_target() -> WorkspaceLoadTarget:
    if Path(_WORKSPACE).is_file():
        return WorkspaceFileTarget(paths=[_WORKSPACE])
    return ModuleTarget(
        module_name=_MODULE, attribute=None, working_directory=None, location_name=None
    )


def _with_benchmark(
    workspace: WorkspaceRequestContext,
) -> tuple[CodeLocation, RemoteRepository]:
    """Return the code location, and its repository, that has the benchmark's job."""
    for location in workspace.code_locations:
        for repository in location.get_repositories().values():
            if repository.has_job(BENCHMARK_JOB):
                return location, repository
    said = [error.message.strip().splitlines()[-1] for error in workspace.code_location_errors()]
    raise EnvironmentProblem(
        f"{_WORKSPACE if Path(_WORKSPACE).is_file() else _MODULE}: no code location has the job "
        f"{BENCHMARK_JOB}" + (f" ({said[0]})" if said else "")
    )


def _refuse_others(
    categories: Sequence[str],
    instance: dg.DagsterInstance,
    workspace: WorkspaceRequestContext,
    location: CodeLocation,
    repository: RemoteRepository,
) -> None:
    """Refuse categories that the code location does not serve."""
    found = workspace.get_partition_names(
        repository_selector=repository.selector,
        job_name=BENCHMARK_JOB,
        instance=instance,
        selected_asset_keys=None,
    )
    served = getattr(found, "partition_names", ())
    if unknown := [category for category in categories if category not in served]:
        raise ConfigError(
            f"'{unknown[0]}' is not one of the categories that {location.name} serves "
            f"({', '.join(served)}); give both the same configuration"
        )
