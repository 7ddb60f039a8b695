"""What automation requests, and what it leaves alone, on a benchmark that is run for real."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, OVER_ALL, execute, failures, write_config

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.conditions import AUTOMATION_SENSOR
from patchcore_assets.automation.waves import SUMMARY_JOB, WAVE
from patchcore_assets.graph import define
from patchcore_assets.inputs.watch import look_at_inputs
from patchcore_ops.config import load_config

FROM_EMBEDDINGS = BY_CATEGORY[1:]
FROM_BANK = BY_CATEGORY[2:]
Requested = dict[str, set[str | None]]


def of(assets: tuple[str, ...], *categories: str | None) -> Requested:
    return {asset: set(categories) for asset in assets}


SUMMARY = of(OVER_ALL, None)


class Automated:
    """A benchmark with the two sensors at hand: each look, tick and run is made by the test."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.dataset = folder / "dataset"
        self.instance = instance
        self._file = folder / "benchmark.yaml"
        self._cursor: Any = None
        build_tiny_dataset(self.dataset, categories=(CATEGORY, OTHER), train=4, test_good=2)
        self.configure()

    def configure(self, **sections: Any) -> None:
        """Write the configuration anew."""
        write_config(self._file, self.dataset, **sections)

    def look(self) -> None:
        """Report what has changed, as the sensor `watch_inputs` does."""
        for event in look_at_inputs(self.instance, load_config(self._file)).changed:
            self.instance.report_runless_asset_event(event)

    def forget(self) -> None:
        """Let the next tick be the first, as when somebody turns the sensor on."""
        self._cursor = None

    def tick(self) -> Requested:
        """Evaluate the conditions once and return what they request."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            result = dg.evaluate_automation_conditions(
                define(load_config(self._file)), self.instance, cursor=self._cursor
            )
        self._cursor = result.cursor
        return {
            asset: set(requested)
            for asset in (*BY_CATEGORY, *OVER_ALL)
            if (requested := result.get_requested_partitions(dg.AssetKey(asset)))
        }

    def run(self, requested: Requested) -> dict[str, str]:
        """Run what was requested, one run for each category, and return what failed."""
        failed = {}
        for category in sorted({one for some in requested.values() for one in some}, key=str):
            assets = [asset for asset, some in requested.items() if category in some]
            result = execute(self._file, *assets, partition=category, instance=self.instance)
            failed.update(failures(result))
        return failed

    def settle(self) -> list[Requested]:
        """Look once, then tick and run until nothing is requested; return every request."""
        self.look()
        history = []
        while requested := self.tick():
            history.append(requested)
            assert len(history) < 10, history
            self.run(requested)
        return history

    def planned(self, asset: str, category: str) -> dg.DagsterRun:
        """Start a run that does not end: its materialisation is planned."""
        job = define(load_config(self._file)).resolve_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job.get_subset(asset_selection={dg.AssetKey(asset)}),
            tags={"dagster/partition": category},
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset({dg.AssetKey(asset)}),
        )


@pytest.fixture(scope="module")
def shared(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Automated]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Automated(tmp_path_factory.mktemp("automation"), instance)


@pytest.fixture
def automated(shared: Automated) -> Iterator[Automated]:
    """Lend the module's benchmark, settled, and put right what the test has changed."""
    shared.settle()
    kept = shared.dataset.with_name("kept")
    shutil.copytree(shared.dataset, kept)
    yield shared
    shutil.rmtree(shared.dataset)
    kept.rename(shared.dataset)
    shared.configure()


def test_at_first_everything_is_built_in_order_and_the_table_once(shared: Automated) -> None:
    assert shared.tick() == {}, "no input has been seen"
    assert shared.settle() == [
        of(("image_manifest",), CATEGORY, OTHER),
        of(FROM_EMBEDDINGS, CATEGORY, OTHER),
        SUMMARY,
    ]


def test_without_a_change_nothing_is_requested(automated: Automated) -> None:
    for image in automated.dataset.rglob("*.png"):
        image.touch()
    automated.configure(runtime={"batch_size": 1})
    automated.look()
    assert automated.tick() == {}
    assert automated.tick() == {}


def test_a_change_that_is_taken_back_costs_nothing(automated: Automated) -> None:
    automated.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    automated.look()
    automated.configure()
    automated.look()
    assert automated.tick() == {}


def test_an_equal_rerun_by_hand_asks_for_nothing(automated: Automated) -> None:
    assert automated.run(of(("image_manifest", "memory_bank"), CATEGORY)) == {}
    assert automated.tick() == {}
    assert automated.run(of(("category_metrics",), OTHER)) == {}
    assert automated.tick() == {}


def test_a_folder_and_a_setting_at_once_wait_for_the_manifest(automated: Automated) -> None:
    (automated.dataset / OTHER / "train" / "good" / "notes.txt").write_text("not an image")
    automated.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    assert automated.settle() == [
        of(("image_manifest",), OTHER),
        of(FROM_BANK, OTHER),
        SUMMARY,
    ]


def test_all_categories_at_once_give_one_table(automated: Automated) -> None:
    next((automated.dataset / CATEGORY / "train" / "good").iterdir()).unlink()
    automated.configure(scoring={"smoothing_sigma": 2.0})
    assert automated.settle() == [
        {**of(("image_manifest",), CATEGORY), **of(BY_CATEGORY[4:], OTHER)},
        of(FROM_EMBEDDINGS, CATEGORY),
        SUMMARY,
    ]


def test_the_table_waits_for_a_category_at_work(automated: Automated) -> None:
    automated.configure(scoring={"smoothing_sigma": 3.0})
    automated.look()
    requested = automated.tick()
    assert requested == of(BY_CATEGORY[4:], CATEGORY, OTHER)
    slow = automated.planned("test_predictions", OTHER)
    automated.run(of(BY_CATEGORY[4:], CATEGORY))
    assert automated.tick() == {}, "the other category is at work"
    automated.instance.report_run_failed(slow)
    assert automated.tick() == SUMMARY, "and has failed: the table goes on without it"
    automated.run(SUMMARY)
    assert automated.tick() == {}, "a failure is not repeated"


def test_inspections_at_work_hold_nothing_up(automated: Automated) -> None:
    automated.configure(inbox={"root": "inbox"}, scoring={"smoothing_sigma": 2.0})
    automated.look()
    day = automated.planned("inspections", f"{CATEGORY}|2026-03-01")
    requested = automated.tick()
    assert set(requested["test_predictions"]) == {CATEGORY, OTHER}
    automated.run(requested)
    assert automated.tick() == SUMMARY
    automated.run(SUMMARY)
    automated.instance.report_run_failed(day)


def test_a_failure_is_tried_again_when_an_input_changes(automated: Automated) -> None:
    broken = {"index": {"factory": "PQ7"}}  # 24 dimensions do not split into 7
    automated.configure(overrides={CATEGORY: broken})
    automated.look()
    requested = automated.tick()
    assert requested == of(FROM_BANK[1:], CATEGORY)
    assert list(automated.run(requested)) == ["faiss_index"]
    for _ in range(3):
        automated.look()
        assert automated.tick() == {}
    # Another setting of the same asset, and one further down, while the first is still wrong.
    automated.configure(overrides={CATEGORY: {**broken, "scoring": {"smoothing_sigma": 1.0}}})
    assert automated.settle() == [], "what is made from a stale index waits"
    automated.configure(overrides={CATEGORY: {"index": {"factory": "SQ4"}}})
    assert automated.settle() == [of(FROM_BANK[1:], CATEGORY), SUMMARY]


def test_a_failure_by_hand_is_not_repeated_and_its_repair_is_followed(automated: Automated) -> None:
    automated.configure(overrides={CATEGORY: {"index": {"factory": "PQ7"}}})
    assert list(automated.run(of(("faiss_index",), CATEGORY))) == ["faiss_index"]
    automated.look()
    assert automated.tick() == {}
    automated.configure(overrides={CATEGORY: {"index": {"factory": "SQ6"}}})
    assert automated.run(of(("faiss_index",), CATEGORY)) == {}
    automated.look()
    assert automated.settle() == [of(FROM_BANK[2:], CATEGORY), SUMMARY]


def test_what_a_wave_has_made_is_left_to_its_summary(automated: Automated) -> None:
    automated.configure(metrics={"aupro_fpr_limit": 0.2})
    job = define(load_config(automated._file)).resolve_implicit_global_asset_job_def()
    for category in (CATEGORY, OTHER):
        result = job.execute_in_process(
            instance=automated.instance,
            partition_key=category,
            tags={WAVE: "a wave"},
            asset_selection=[dg.AssetKey("category_metrics")],
        )
        assert result.success
    automated.look()
    assert automated.tick() == {}
    summary = define(load_config(automated._file)).resolve_job_def(SUMMARY_JOB)
    assert summary.execute_in_process(instance=automated.instance, tags={WAVE: "a wave"}).success
    assert automated.tick() == {}


def test_a_new_category_is_built_when_its_folder_is_there(automated: Automated) -> None:
    build_tiny_dataset(automated.dataset, categories=("fabric_c",), train=4, test_good=2)
    shutil.move(automated.dataset / "fabric_c", automated.dataset / "elsewhere")
    three = {"categories": [CATEGORY, OTHER, "fabric_c"]}
    automated.configure(dataset=three)
    assert automated.settle() == []
    shutil.move(automated.dataset / "elsewhere", automated.dataset / "fabric_c")
    assert automated.settle() == [
        of(("image_manifest",), "fabric_c"),
        of(FROM_EMBEDDINGS, "fabric_c"),
        SUMMARY,
    ]


def test_what_was_stale_before_the_first_tick_is_rebuilt(automated: Automated) -> None:
    automated.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    automated.look()
    automated.forget()
    assert automated.settle() == [of(FROM_BANK, OTHER), SUMMARY]


def test_a_setting_that_changes_while_its_asset_is_made_is_not_lost(automated: Automated) -> None:
    automated.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    automated.look()
    automated.run(automated.tick())
    automated.configure(overrides={OTHER: {"coreset": {"percentage": 0.6}}})
    assert automated.settle() == [of(FROM_BANK, OTHER), SUMMARY]


def test_the_sensor_is_off_and_asks_for_runs_not_backfills(automated: Automated) -> None:
    sensor = define(load_config(automated._file)).resolve_sensor_def(AUTOMATION_SENSOR)
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert not sensor.emit_backfills
    assert sensor.minimum_interval_seconds == 30
