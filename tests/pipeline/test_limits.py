"""What runs may do at the same time and for how long, and what is tried again."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from pipeline_kit import CATEGORY, Configure, execute, failures
from staleness_kit import CATEGORIES

from patchcore_assets.automation.conditions import AUTOMATION_SENSOR
from patchcore_assets.automation.waves import REBENCHMARK_SCHEDULE, SUMMARY_SENSOR
from patchcore_assets.graph import BENCHMARK_JOB, SUMMARY_JOB, define
from patchcore_assets.pools import CPU_HEAVY, DEVICE_TAG, GPU, POOLS, create_pools, expects_gpu
from patchcore_assets.step.failures import RETRIES
from patchcore_assets.storage.local.staging import LocalStaging
from patchcore_ops.config import load_config
from patchcore_ops.runtime import devices

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Open an instance on the repository's dagster.yaml, in a folder of the test's own."""
    home = tmp_path / "installation"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    monkeypatch.chdir(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def pools_of(config: Path, job: str) -> dict[str, str | None]:
    graph = define(load_config(config)).resolve_job_def(job).graph
    return {
        node.name: node.definition.pool
        for node in graph.nodes
        if isinstance(node.definition, dg.OpDefinition)
    }


def test_heavy_steps_are_in_the_pool_of_what_they_use(configure: Configure) -> None:
    on_cpu = pools_of(configure(runtime={"device": "cpu"}), BENCHMARK_JOB)
    assert on_cpu == {
        "image_manifest": None,
        "raw_embeddings": CPU_HEAVY,
        "memory_bank": CPU_HEAVY,
        "faiss_index": CPU_HEAVY,
        "test_predictions": CPU_HEAVY,
        "category_metrics": CPU_HEAVY,
        "score_calibration": CPU_HEAVY,
        "model": CPU_HEAVY,
    }
    on_gpu = pools_of(configure(runtime={"device": "cuda:1"}), BENCHMARK_JOB)
    assert on_gpu == {**on_cpu, "raw_embeddings": GPU, "memory_bank": GPU}
    search = pools_of(configure(runtime={"device": "cpu", "faiss_on_gpu": True}), BENCHMARK_JOB)
    assert search == {**on_cpu, "test_predictions": GPU, "score_calibration": GPU}
    assert set(pools_of(configure(), SUMMARY_JOB).values()) == {None}


def test_runs_with_a_step_on_a_gpu_ask_ray_for_one_by_tag(configure: Configure) -> None:
    asked = {"dagster-ray/config": '{"num_gpus": 1}'}
    for device, tags in (("cuda", asked), ("cpu", {})):
        definitions = define(load_config(configure(runtime={"device": device})))
        [sensor] = [one for one in definitions.sensors or () if one.name == AUTOMATION_SENSOR]
        assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
        assert sensor.run_tags == tags
        assert definitions.resolve_job_def(BENCHMARK_JOB).run_tags == tags
        assert definitions.resolve_job_def(SUMMARY_JOB).run_tags == {}


def test_auto_means_a_gpu_where_there_is_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(devices, "_DRIVER_FILES", (str(driver),))
    assert not expects_gpu("auto")
    driver.touch()
    assert expects_gpu("auto")
    assert expects_gpu("cuda")
    assert expects_gpu("mps")
    assert not expects_gpu("cpu")


@pytest.mark.parametrize(("pool", "expected"), [("gpu", GPU), ("cpu_heavy", CPU_HEAVY)])
def test_a_head_may_say_what_its_nodes_have(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pool: str, expected: str
) -> None:
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(devices, "_DRIVER_FILES", (str(driver),))
    if pool == "cpu_heavy":
        driver.touch()
    runtime = {"engine": "auto", "device": "auto", "pool": pool}
    definitions = define(load_config(configure(runtime=runtime)))
    pools = {asset.key.to_user_string(): asset.op.pool for asset in definitions.assets or ()}
    assert pools["raw_embeddings"] == pools["memory_bank"] == expected
    assert pools["test_predictions"] == CPU_HEAVY


def planned(instance: dg.DagsterInstance, config: Path, job: str) -> dg.DagsterRun:
    """Create a run as it stands in the queue, with the pools that its steps name."""
    definition = define(load_config(config)).resolve_job_def(job)
    return instance.create_run_for_job(
        definition, asset_selection=frozenset(definition.asset_layer.executable_asset_keys)
    )


def test_the_queue_runs_one_category_at_a_time(
    installation: dg.DagsterInstance, configure: Configure
) -> None:
    settings = installation.get_concurrency_config()
    assert settings.pool_config.pool_granularity is not None
    assert settings.pool_config.pool_granularity.value == "run"
    assert settings.pool_config.default_pool_limit == 1
    assert settings.run_queue_config is not None
    assert settings.run_queue_config.max_concurrent_runs == 4
    config = configure()
    first, second = (planned(installation, config, BENCHMARK_JOB) for _ in CATEGORIES)
    summary = planned(installation, config, SUMMARY_JOB)
    # In a fresh history, in which no run has asked for a pool.
    assert not installation.event_log_storage.get_concurrency_keys()
    create_pools(installation)
    queue = GlobalOpConcurrencyLimitsCounter(
        installation,
        [first, second, summary],
        [],
        set(installation.event_log_storage.get_concurrency_keys()),
        installation.event_log_storage.get_pool_limits(),
        slot_count_offset=settings.run_queue_config.op_concurrency_slot_buffer,
        pool_granularity=settings.pool_config.pool_granularity,
    )
    assert settings.run_queue_config.should_block_op_concurrency_limited_runs
    assert not queue.is_blocked(first)
    queue.update_counters_with_launched_item(first)
    assert queue.is_blocked(second)
    assert not queue.is_blocked(summary)


def test_a_limit_that_the_user_has_set_stays(installation: dg.DagsterInstance) -> None:
    installation.event_log_storage.set_concurrency_slots(CPU_HEAVY, 4)
    create_pools(installation)
    limits = {pool.name: pool.limit for pool in installation.event_log_storage.get_pool_limits()}
    assert limits == {CPU_HEAVY: 4, GPU: 1}


def test_the_schedule_and_the_sensor_create_the_pools(
    installation: dg.DagsterInstance, configure: Configure
) -> None:
    definitions = define(load_config(configure()))
    repository = definitions.get_repository_def()
    log = installation.event_log_storage
    sensor = definitions.resolve_sensor_def(SUMMARY_SENSOR)
    with dg.build_sensor_context(installation, repository_def=repository) as context:
        sensor.evaluate_tick(context)
    assert log.get_concurrency_keys() == set(POOLS)
    for pool in POOLS:
        log.delete_concurrency_limit(pool)
    schedule = definitions.resolve_schedule_def(REBENCHMARK_SCHEDULE)
    now = datetime.now(UTC)
    with dg.build_schedule_context(installation, now, repository_def=repository) as context:
        schedule.evaluate_tick(context)
    assert log.get_concurrency_keys() == set(POOLS)


def test_runs_that_hang_are_ended(installation: dg.DagsterInstance) -> None:
    assert installation.run_monitoring_enabled
    settings = installation.get_settings("run_monitoring")
    assert settings["max_runtime_seconds"] == 24 * 60 * 60
    assert installation.run_monitoring_start_timeout_seconds == 300


def test_a_run_by_hand_needs_no_queue_and_keeps_what_it_prints(
    pip_weights: None, installation: dg.DagsterInstance, configure: Configure
) -> None:
    result = execute(configure(), "image_manifest", "raw_embeddings", instance=installation)
    assert result.success, failures(result)
    run = installation.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[DEVICE_TAG] == "cpu"
    assert list(Path(".dagster/compute_logs").rglob("*.err")), "compute logs are kept"
    assert list(Path(".dagster/storage/file_hashes").iterdir())


class FailingStorage:
    """Makes the first commits of artefacts fail."""

    def __init__(self, errors: list[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempts = 0
        commit = LocalStaging.commit

        def failing(staging: LocalStaging, *what: Any) -> Any:
            self.attempts += 1
            if self.attempts <= len(errors):
                raise errors[self.attempts - 1]
            return commit(staging, *what)

        monkeypatch.setattr(LocalStaging, "commit", failing)
        monkeypatch.setattr("patchcore_assets.step.failures.FIRST_WAIT_SECONDS", 0.01)


def retries(result: dg.ExecuteInProcessResult) -> int:
    return len(result.filter_events(lambda event: event.is_step_up_for_retry))


def test_a_storage_that_fails_twice_and_then_works(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    errors = [ConnectionResetError("reset by peer"), OSError(errno.EBUSY, "slow down")]
    storage = FailingStorage(list(errors), monkeypatch)
    result = execute(configure(), "image_manifest")
    assert result.success, failures(result)
    assert storage.attempts == 3
    assert retries(result) == 2
    assert (tmp_path / "storage" / "image_manifest" / CATEGORY / "manifest.parquet").is_file()


def test_a_storage_that_stays_out_of_reach_is_given_up(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FailingStorage([TimeoutError("no answer")] * 99, monkeypatch)
    result = execute(configure(), "image_manifest")
    assert not result.success
    assert storage.attempts == 1 + RETRIES
    assert retries(result) == RETRIES


def test_a_permanent_error_is_not_tried_again(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FailingStorage([OSError(errno.ENOSPC, "stays so")] * 99, monkeypatch)
    result = execute(configure(), "image_manifest")
    assert not result.success
    assert storage.attempts == 1
    assert retries(result) == 0


def test_a_user_s_mistake_is_not_tried_again(configure: Configure, tmp_path: Path) -> None:
    result = execute(configure(dataset={"root": str(tmp_path / "nowhere")}), "image_manifest")
    assert not result.success
    assert retries(result) == 0
    assert "no such folder" in failures(result)["image_manifest"]
