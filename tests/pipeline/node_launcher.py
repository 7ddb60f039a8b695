"""A run launcher as of a cluster: the run's process reads the configuration of its node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._cli.api import ExecuteRunArgs
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._serdes import ConfigurableClass, ConfigurableClassData

NODE_CONFIG = "TEST_NODE_CONFIG"


class NodeLauncher(RunLauncher, ConfigurableClass):
    """Starts a run as Ray's and Kubernetes' launchers do, waits for it, and stops at nothing."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()
        self._inst_data = inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        assert run.job_code_origin is not None
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
        )
        environment = {**os.environ, "PATCHCORE_CONFIG": os.environ[NODE_CONFIG]}
        command = [sys.executable, "-m", *arguments.get_command_args()]
        subprocess.run(command, env=environment, check=False)

    def terminate(self, run_id: str) -> bool:
        return False


def refused_events(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the sentences of a run's failed steps."""
    return [
        entry.dagster_event.step_failure_data.user_failure_data.description or ""
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        if entry.dagster_event is not None
        and entry.dagster_event.step_failure_data.user_failure_data is not None
    ]
