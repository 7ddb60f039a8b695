"""What Dagster's Helm chart and dagster-k8s make of our values, without a cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
NAMESPACE = "benchmarks"
# No request is made with it: the API's methods are replaced.
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
}


class RecordedApi:
    """Kubernetes' batch API; keeps the jobs that it is asked to create."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def create_namespaced_job(self, body: Any, namespace: str, **_: Any) -> None:
        assert namespace == NAMESPACE
        self.jobs.append(body)

    def manifest(self) -> dict[str, Any]:
        """Return the last job as it goes to the cluster."""
        from kubernetes.client import ApiClient

        manifest: dict[str, Any] = ApiClient().sanitize_for_serialization(self.jobs[-1])
        return json.loads(json.dumps(manifest))


def rendered_launcher(config: dict[str, Any]) -> dict[str, Any]:
    """Write the launcher's section as the chart's template `dagsterYaml.runLauncher.k8s` does."""
    rendered = {_snake_case(key): value for key, value in config.items()}
    for key in ("env_secrets", "env_config_maps"):
        if key in rendered:
            rendered[key] = [one["name"] for one in rendered[key]]
    raw = rendered["run_k8s_config"].items()
    return {**rendered, "run_k8s_config": {_snake_case(key): value for key, value in raw}}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def launch_step(
    instance: dg.DagsterInstance,
    api: RecordedApi,
    run: dg.DagsterRun,
    step: str,
) -> None:
    """Let the run's executor start the pod of a step, as in the pod of the run."""
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.execution.api import create_execution_plan
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.context_creation_job import (
        create_context_creation_data,
        create_context_free_log_manager,
        create_executor,
        create_plan_data,
    )
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig
    from dagster._core.executor.step_delegating.step_handler.base import StepHandlerContext
    from dagster._grpc.types import ExecuteStepArgs

    definitions = ReconstructableRepository.for_module("patchcore_assets", "defs")
    job = definitions.get_reconstructable_job(run.job_name)
    job = job.get_subset(asset_selection=run.asset_selection)
    plan = create_execution_plan(job, step_keys_to_execute=[step], tags=run.tags)
    created = create_context_creation_data(job, plan, {}, run, instance)
    executor: Any = create_executor(created)
    executor._step_handler._api_client.batch_api = api
    data = create_plan_data(created, True, RetryMode.DISABLED, StepDependencyConfig.default())
    logs = create_context_free_log_manager(instance, run)
    context = PlanOrchestrationContext(data, logs, executor, output_capture=None)
    arguments = ExecuteStepArgs(run.job_code_origin, run.run_id, [step], instance.get_ref())
    list(
        executor._step_handler.launch_step(
            StepHandlerContext(instance, context, plan.steps, arguments)
        )
    )
