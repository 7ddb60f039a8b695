"""An instance as the chart makes it of our values, and a recorder in place of the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from kubernetes_kit import KUBECONFIG, KUBERNETES, NAMESPACE, RecordedApi, rendered_launcher


@pytest.fixture(scope="session")
def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((KUBERNETES / "values.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture
def instance(values: dict[str, Any], tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    pytest.importorskip("dagster_k8s", reason="needs the extra `kubernetes`")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(KUBECONFIG), encoding="utf-8")
    launcher = {
        "module": "dagster_k8s",
        "class": "K8sRunLauncher",
        "config": {
            **rendered_launcher(values["runLauncher"]["config"]["k8sRunLauncher"]),
            "load_incluster_config": False,
            "kubeconfig_file": str(kubeconfig),
            "job_namespace": NAMESPACE,
            "service_account_name": "patchcore-dagster",
            "instance_config_map": "patchcore-dagster-instance",
            "postgres_password_secret": values["global"]["postgresqlSecretName"],
        },
    }
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as made:
        yield made


@pytest.fixture
def api(instance: dg.DagsterInstance) -> RecordedApi:
    recorded = RecordedApi()
    client: Any = instance.run_launcher
    client._api_client.batch_api = recorded
    return recorded
