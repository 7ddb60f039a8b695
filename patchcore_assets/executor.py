"""Where the steps of a run execute: in its process, or each in a Kubernetes pod of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem
from patchcore_ops.runtime.process_identity import ProcessIdentity

STEP_PODS_VARIABLE = "PATCHCORE_STEP_PODS"
# The tag that names the process of a run.
PROCESS = "patchcore/process"


def executor(assets: Collection[str]) -> dg.ExecutorDefinition:
    """Return the executor of all jobs, runs of a backfill included.

    The steps of a run share its process, so torch is imported once. If PATCHCORE_STEP_PODS names a
    YAML file, each is a pod: the file has, by asset, what Dagster calls `dagster-k8s/config`.

    Raises
    ------
    ConfigError
        If that file cannot be used.
    EnvironmentProblem
        If dagster-k8s is not installed.
    """
    named = os.environ.get(STEP_PODS_VARIABLE)
    return _step_pods(Path(named), assets) if named else dg.in_process_executor


def process_tags() -> dict[str, str]:
    """Name this process as that of a run; nothing where steps have processes of their own."""
    process = None if os.environ.get(STEP_PODS_VARIABLE) else ProcessIdentity.of_this()
    return {} if process is None else {PROCESS: str(process)}


def _step_pods(file: Path, assets: Collection[str]) -> dg.ExecutorDefinition:
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise EnvironmentProblem(
            f"{STEP_PODS_VARIABLE} is set, but dagster-k8s is not installed; install the extra "
            "`kubernetes`"
        ) from error
    steps = _read(file)
    for name, content in steps.items():
        if name not in assets:
            raise ConfigError(f"{file}: '{name}' is no asset; choose from {', '.join(assets)}")
        _validate(file, name, content)
    configured: dg.ExecutorDefinition = k8s_job_executor.configured({"per_step_k8s_config": steps})
    return configured


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{file}: cannot be read ({' '.join(str(error).split())}); correct the file, or unset "
            f"{STEP_PODS_VARIABLE}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must name assets, each with its `dagster-k8s/config`")
    return content


def _validate(file: Path, asset: str, content: object) -> None:
    """Refuse now what Dagster would refuse when it starts the pod."""
    from dagster_k8s.job import USER_DEFINED_K8S_CONFIG_KEY, get_user_defined_k8s_config

    try:
        get_user_defined_k8s_config({USER_DEFINED_K8S_CONFIG_KEY: json.dumps(content)})
    # dagster-k8s raises plain exceptions for keys that Kubernetes does not know.
    except Exception as error:
        raise ConfigError(
            f"{file}: {asset}: {' '.join(str(error).split())}; see `dagster-k8s/config` in "
            "Dagster's documentation"
        ) from error
