"""The Kubernetes jobs that Dagster makes of deploy/kubernetes. No cluster runs them here."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from kubernetes_kit import KUBERNETES, RecordedApi, launch_step
from pipeline_kit import CATEGORY, write_config

from patchcore_assets.executor import STEP_PODS_VARIABLE
from patchcore_assets.graph import define
from patchcore_assets.location import CONFIG_VARIABLE
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.runtime.errors import ConfigError

IMAGE = "registry.example.com/patchcore:1-cpu"
BACKFILL = {
    "dagster/backfill": "abcdefgh",
    "dagster/asset_partition_range_start": CATEGORY,
    "dagster/asset_partition_range_end": CATEGORY,
}
SECRETS = {
    "DAGSTER_PG_PASSWORD": "pg-password-value",
    "AWS_ACCESS_KEY_ID": "key-id-value",
    "AWS_SECRET_ACCESS_KEY": "secret-key-value",
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's environment, which dagster-k8s may copy into a job."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def step_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the config map has, and the variable that names it."""
    file = tmp_path / "step-pods.yaml"
    file.write_text(config_map()["step-pods.yaml"], encoding="utf-8")
    monkeypatch.setenv(STEP_PODS_VARIABLE, str(file))
    return file


def config_map() -> dict[str, str]:
    """Return the files of the config map."""
    content = yaml.safe_load((KUBERNETES / "patchcore-config.yaml").read_text("utf-8"))
    files: dict[str, str] = content["data"]
    return files


def configuration(folder: Path) -> BenchmarkConfig:
    """Return a configuration of two categories; no image is read."""
    return load_config(write_config(folder / "benchmark.yaml", folder / "images"))


def backfilled_run(instance: dg.DagsterInstance, job: dg.JobDefinition) -> dg.DagsterRun:
    """Make a run as a backfill does, of a code location that the chart has deployed."""
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

    location = RepositoryPythonOrigin(
        executable_path="/opt/patchcore/bin/python",
        code_pointer=ModuleCodePointer("patchcore_assets", "defs"),
        container_image=IMAGE,
    )
    return instance.create_run_for_job(
        job,
        asset_selection={dg.AssetKey("raw_embeddings"), dg.AssetKey("image_manifest")},
        tags=BACKFILL,
        job_code_origin=JobPythonOrigin(job.name, location),
    )


def pod_and_container(manifest: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pod's specification and its one container."""
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def see_to_files_and_secrets(manifest: dict[str, Any]) -> None:
    """Expect of any pod: our image, configuration, read-only images, secrets by reference."""
    pod, container = pod_and_container(manifest)
    assert container["image"] == IMAGE
    volumes = {one["name"]: one for one in pod["volumes"]}
    mounts = {one["name"]: one for one in container["volumeMounts"]}
    assert volumes["config"]["configMap"]["name"] == "patchcore-config"
    assert mounts["config"] == {"name": "config", "mountPath": "/etc/patchcore", "readOnly": True}
    images = {"claimName": "patchcore-images", "readOnly": True}
    assert volumes["images"]["persistentVolumeClaim"] == images
    assert mounts["images"] == {"name": "images", "mountPath": "/images", "readOnly": True}
    environment = {one["name"]: one for one in container["env"]}
    assert environment["PATCHCORE_CONFIG"]["value"] == "/etc/patchcore/patchcore.yaml"
    assert environment["DAGSTER_PG_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "patchcore-postgresql",
        "key": "postgresql-password",
    }
    assert container["envFrom"] == [{"secretRef": {"name": "patchcore-bucket"}}]
    text = json.dumps(manifest)
    assert [value for value in SECRETS.values() if value in text] == []
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_run_of_a_backfill_has_limits_files_and_secrets_by_reference(
    instance: dg.DagsterInstance, api: RecordedApi, tmp_path: Path
) -> None:
    from dagster._core.launcher import LaunchRunContext

    job = define(configuration(tmp_path)).resolve_implicit_global_asset_job_def()
    run = backfilled_run(instance, job)
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    manifest = api.manifest()
    _, container = pod_and_container(manifest)
    assert container["args"][1:5] == ["-m", "dagster", "api", "execute_run"]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "8Gi"}
    assert manifest["spec"]["backoffLimit"] == 0, "Dagster starts a run again, not Kubernetes"
    assert job.executor_def is dg.in_process_executor
    see_to_files_and_secrets(manifest)


def test_steps_of_a_backfill_are_pods_with_the_resources_of_each(
    instance: dg.DagsterInstance,
    api: RecordedApi,
    tmp_path: Path,
    step_pods: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "benchmark.yaml"))
    job = define(configuration(tmp_path)).resolve_implicit_global_asset_job_def()
    run = backfilled_run(instance, job)
    launch_step(instance, api, run, "raw_embeddings")
    see_to_files_and_secrets(api.manifest())
    _, container = pod_and_container(api.manifest())
    gpu = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert container["resources"]["limits"] == gpu
    assert container["resources"]["requests"] == {**gpu, "ephemeral-storage": "20Gi"}
    launch_step(instance, api, run, "image_manifest")
    _, container = pod_and_container(api.manifest())
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "8Gi"}, "that of the run"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("raw_embedings: {}", "'raw_embedings' is no asset; choose from image_manifest,"),
        ("[raw_embeddings]", "must name assets, each with its `dagster-k8s/config`"),
        ("raw_embeddings: {", "cannot be read (while parsing a flow"),
        ("raw_embeddings: {container: {}}", 'Received unexpected config entry "container"'),
        ("raw_embeddings: {container_config: {resource: {}}}", "V1Container: {'resource'}"),
    ],
)
def test_a_mistake_in_the_file_of_step_pods_is_one_sentence(
    tmp_path: Path, step_pods: Path, content: str, sentence: str
) -> None:
    pytest.importorskip("dagster_k8s", reason="needs the extra `kubernetes`")
    step_pods.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        define(configuration(tmp_path))
    assert str(raised.value).startswith(f"{step_pods}: ")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_manifests_belong_together(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_k8s", reason="needs the extra `kubernetes`")
    from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
    from kubernetes import client

    text = (KUBERNETES / "images.yaml").read_text("utf-8")
    volume, claim = yaml.safe_load_all(text)
    for model, manifest in (
        (client.V1PersistentVolume, volume),
        (client.V1PersistentVolumeClaim, claim),
    ):
        k8s_model_from_dict(model, k8s_snake_case_dict(model, manifest))
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    image = "{repository}:{tag}".format(**deployment["image"])
    assert image == IMAGE
    for key in ("volumes", "volumeMounts", "envSecrets", "securityContext"):
        assert deployment[key] == launcher[key], key
    # The configuration of the config map is one that loads.
    (tmp_path / "images" / CATEGORY / "train").mkdir(parents=True)
    monkeypatch.setenv("PATCHCORE_DATASET_ROOT", str(tmp_path / "images"))
    file = tmp_path / "patchcore.yaml"
    file.write_text(config_map()["patchcore.yaml"], encoding="utf-8")
    assert list(load_config(file).categories) == [CATEGORY]


def test_the_image_for_cpus_gets_the_torch_that_the_project_asks_for() -> None:
    repository = KUBERNETES.parents[1]
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    dockerfile = (KUBERNETES / "Dockerfile").read_text("utf-8")
    torches = [one for one in project["dependencies"] if one.startswith("torch")]
    assert len(torches) == 2
    assert all(f'"{one}"' in dockerfile for one in torches)
    assert project["optional-dependencies"]["gpu"][0] in dockerfile
