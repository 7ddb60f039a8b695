"""Runs on other machines: one configuration for all, or the run is refused and records nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from node_launcher import NODE_CONFIG, refused_events
from pipeline_kit import CATEGORY, SILENT, make_site, write_config

from patchcore_assets.graph import BENCHMARK_JOB, define
from patchcore_assets.inputs.watch import look_at_inputs
from patchcore_assets.step.configuration import configuration_of_run
from patchcore_ops.config import load_config

PIPELINE = Path(__file__).parent
REPOSITORY = PIPELINE.parents[1]
CLUSTER = """
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
telemetry: {enabled: false}
run_launcher: {module: node_launcher, class: NodeLauncher}
run_retries: {enabled: true, max_retries: 3}
"""
OTHER_SETTINGS = {"coreset": {"percentage": 0.5}}
REFUSAL = "are not those that the run was launched with"


@pytest.fixture
def head(tmp_path: Path, tiny_dataset: Path) -> Path:
    """Write the configuration of the head."""
    return write_config(
        tmp_path / "head/benchmark.yaml", tiny_dataset, storage={"root": str(tmp_path / "storage")}
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Open a history whose runs are started on other machines."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/dagster.yaml").write_text(CLUSTER, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        yield instance


def node(head: Path, /, **sections: Mapping[str, Any]) -> Path:
    """Write the configuration of a node: the head's, with sections laid over."""
    content = load_config(head)
    storage = {"root": content.storage_root, **sections.pop("storage", {})}
    return write_config(
        head.parent.parent / "node/benchmark.yaml",
        content.dataset_root,
        storage=storage,
        **sections,
    )


def job_of(file: Path, name: str) -> dg.JobDefinition:
    return define(load_config(file)).resolve_job_def(name)


def launch(
    instance: dg.DagsterInstance, head: Path, on: Path, *assets: str, job: str = "__ASSET_JOB"
) -> dg.DagsterRun:
    """Launch assets by the head's definitions, and execute the run by those of a node."""
    keys = {dg.AssetKey(asset) for asset in assets}
    definition = job_of(head, job).get_subset(asset_selection=keys)
    run = instance.create_run_for_job(
        definition,
        run_config=SILENT,
        asset_selection=keys,
        tags={"dagster/partition": CATEGORY},
    )
    execute_run(InMemoryJob(job_of(on, job).get_subset(asset_selection=keys)), run, instance)
    finished = instance.get_run_by_id(run.run_id)
    assert finished is not None
    return finished


def observed(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_observations(dg.AssetKey("images"), limit=9).records) + len(
        instance.fetch_observations(dg.AssetKey("coreset_config"), limit=9).records
    )


@pytest.mark.parametrize(
    ("job", "asset"),
    [("__ASSET_JOB", "image_manifest"), (BENCHMARK_JOB, "memory_bank"), ("__ASSET_JOB", "images")],
)
def test_a_node_with_another_configuration_refuses_and_records_nothing(
    cluster: dg.DagsterInstance, head: Path, job: str, asset: str
) -> None:
    run = launch(cluster, head, node(head, **OTHER_SETTINGS), asset, job=job)
    assert run.status is dg.DagsterRunStatus.FAILURE
    [sentence] = refused_events(cluster, run.run_id)
    assert REFUSAL in sentence
    assert sentence.startswith(f"{head.parent.parent}/node/benchmark.yaml: ")
    assert sentence.count(". ") == 0
    assert observed(cluster) == 0
    assert cluster.get_latest_materialization_event(dg.AssetKey(asset)) is None
    assert not Path(load_config(head).storage_root).exists()
    assert not cluster.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_RESTARTED)
    assert run.tags["dagster/will_retry"] == "false"


def test_a_node_differs_in_what_is_its_own(
    cluster: dg.DagsterInstance, head: Path, tmp_path: Path
) -> None:
    shutil.copytree(load_config(head).dataset_root, tmp_path / "mounted")
    own = node(
        head,
        dataset={"root": str(tmp_path / "mounted")},
        runtime={"batch_size": 3, "num_workers": 1},
        storage={"cache": "/own/cache"},
    )
    run = launch(cluster, head, own, "image_manifest")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert observed(cluster) == 1

    # Another node goes on with what the first has read, on its own folders and device.
    retried = cluster.create_run_for_job(
        job_of(head, "__ASSET_JOB"),
        parent_run_id=run.run_id,
        root_run_id=run.run_id,
        tags={**run.tags, "dagster/retry_number": "1"},
    )
    config, is_kept = configuration_of_run(cluster, retried, str(head))
    assert is_kept
    assert config == load_config(head)
    other = node(head, **OTHER_SETTINGS)
    with pytest.raises(Exception, match=REFUSAL):
        configuration_of_run(cluster, retried, str(other))


def test_on_one_machine_a_run_reads_the_file_as_it_is(head: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = launch(instance, head, node(head, **OTHER_SETTINGS), "image_manifest")
    assert run.status is dg.DagsterRunStatus.SUCCESS


def test_a_sensor_reports_only_settings_that_runs_would_use(
    cluster: dg.DagsterInstance, head: Path
) -> None:
    loaded = load_config(head)
    assert look_at_inputs(cluster, loaded).changed
    write_config(head, loaded.dataset_root, storage={"root": loaded.storage_root}, **OTHER_SETTINGS)
    found = look_at_inputs(cluster, loaded)
    assert not found.changed
    [note] = found.notes
    assert "has been edited and every run would be refused; reload the code location" in note
    with dg.DagsterInstance.ephemeral() as instance:
        assert look_at_inputs(instance, loaded).changed


def test_a_run_that_dagster_launches_is_refused_too(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, tiny_dataset)
    (site.home / "dagster.yaml").write_text(CLUSTER, encoding="utf-8")
    other = write_config(tmp_path / "node/benchmark.yaml", tiny_dataset, **OTHER_SETTINGS)
    monkeypatch.setenv(NODE_CONFIG, str(other))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (REPOSITORY, PIPELINE))))
    launched = site.dagster(
        *("job", "launch", "-m", "patchcore_assets", "-j", BENCHMARK_JOB),
        *("--tags", f'{{"dagster/partition": "{CATEGORY}"}}'),
    )
    assert launched.returncode == 0, launched.stderr
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        [run] = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert REFUSAL in refused_events(instance, run.run_id)[0]
        assert observed(instance) == 0
        assert run.tags["dagster/will_retry"] == "false"
