"""The real daemon and webserver: a backfill is a wave, and an edit rebuilds what depends on it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    OVER_ALL,
    category_of_run,
    make_site,
    write_config,
)
from webserver_process import Webserver, webserver

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.conditions import AUTOMATION_SENSOR
from patchcore_assets.automation.waves import SUMMARY_JOB, SUMMARY_SENSOR, WAVE
from patchcore_assets.inputs.watch import WATCH_SENSOR

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("pip_weights")]

# A run takes some ten seconds on an idle machine, and there are three after each other.
DEADLINE = 240.0
OFTEN = {"seconds_between_looks": 1}
SENSORS = (WATCH_SENSOR, AUTOMATION_SENSOR, SUMMARY_SENSOR)

START_SENSOR = """
mutation ($name: String!) {
  startSensor(sensorSelector: {
    repositoryName: "__repository__", repositoryLocationName: "patchcore_assets", sensorName: $name
  }) { __typename ... on Sensor { sensorState { status } } }
}
"""
BACKFILL = """
mutation ($asked: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $asked) {
    __typename ... on LaunchBackfillSuccess { backfillId }
  }
}
"""
STATUS = """
{ sensorsOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "patchcore_assets"
  }) { __typename ... on Sensors { results { name sensorState { status } } } }
}
"""


class Operated:
    """An installation whose daemon and webserver are at work."""

    def __init__(self, instance: dg.DagsterInstance, server: Webserver) -> None:
        self.instance = instance
        self.ask = server.ask

    def sensors(self) -> dict[str, str]:
        """Return the status of every sensor; empty while the code location is being loaded."""
        found = self.ask(STATUS)["sensorsOrError"]
        return {one["name"]: one["sensorState"]["status"] for one in found.get("results", [])}

    def turn_on(self, sensor: str) -> None:
        """Turn a sensor on, as one click in the UI does."""
        started = self.ask(START_SENSOR, name=sensor)["startSensor"]
        assert started["sensorState"]["status"] == "RUNNING", started

    def ticks(self, sensor: str) -> int:
        """Return how many ticks of a sensor have ended."""
        [state] = [
            one for one in self.instance.all_instigator_state() if one.instigator_name == sensor
        ]
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert not [tick.error for tick in ticks if tick.error], sensor
        return sum(tick.is_completed for tick in ticks)

    def runs(self) -> list[dg.DagsterRun]:
        """Return every run, the oldest first."""
        return list(self.instance.get_runs(ascending=True))

    def made(self, since: int) -> list[tuple[str, str | None]]:
        """Return what was materialised after an event, in order."""
        events = []
        for asset in (*BY_CATEGORY, *OVER_ALL):
            events += self.instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(asset), after_storage_id=since), limit=100
            ).records
        return [
            (event.asset_key.to_user_string(), event.partition_key)
            for event in sorted(events, key=lambda event: event.storage_id)
            if event.asset_key
        ]

    def wait_for(self, what: str, happened: Callable[[], Any]) -> Any:
        """Ask again until something has happened."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if result := happened():
                return result
            time.sleep(0.25)
        raise AssertionError(f"{what}: not within {DEADLINE:.0f} s")

    def wait_for_ticks(self, *sensors: str) -> None:
        """Wait for two more ticks of each, to see that this is all."""
        enough = {sensor: self.ticks(sensor) + 2 for sensor in sensors}
        self.wait_for(
            "two more ticks",
            lambda: all(self.ticks(sensor) >= enough[sensor] for sensor in sensors),
        )


def test_a_backfill_ends_in_table_and_report_and_an_edit_rebuilds_its_category(
    tmp_path: Path,
) -> None:
    dataset = tmp_path / "dataset"
    build_tiny_dataset(dataset, categories=(CATEGORY, OTHER), train=4, test_good=2)
    shutil.rmtree(dataset / OTHER / "train")
    site = make_site(tmp_path, dataset, schedule=OFTEN)
    with (
        dg.DagsterInstance.from_config(str(site.home)) as instance,
        webserver(site.home, site.environment, command=("dagster", "dev")) as server,
    ):
        operated = Operated(instance, server)
        status = operated.wait_for("the code location", operated.sensors)
        assert [status[sensor] for sensor in SENSORS] == ["STOPPED", "STOPPED", "RUNNING"]
        # As the UI asks for all assets and categories.
        asked = {
            "assetSelection": [{"path": [asset]} for asset in (*BY_CATEGORY, *OVER_ALL)],
            "partitionNames": [CATEGORY, OTHER],
        }
        launched = operated.ask(BACKFILL, asked=asked)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess"
        operated.wait_for(
            "the summary",
            lambda: [
                run for run in operated.runs() if run.job_name == SUMMARY_JOB and run.is_finished
            ],
        )
        operated.wait_for_ticks(SUMMARY_SENSOR)
        before = operated.runs()
        *by_category, summary = before
        assert len(by_category) == 2
        assert {category_of_run(run): run.status.value for run in by_category} == {
            CATEGORY: "SUCCESS",
            OTHER: "FAILURE",
        }
        assert summary.status is dg.DagsterRunStatus.SUCCESS
        wave = summary.tags[WAVE]
        assert wave.endswith(f" {launched['backfillId']}")
        table = pd.read_parquet(site.storage / "metrics" / "metrics.parquet")
        assert list(table["category"]) == [CATEGORY, "Mean"]
        history = pd.read_parquet(site.storage / "metrics" / "history.parquet")
        assert list(history["wave"]) == [wave]
        assert (site.storage / "benchmark_report" / "index.html").is_file()

        last = instance.event_log_storage.get_maximum_record_id() or 0
        for sensor in (WATCH_SENSOR, AUTOMATION_SENSOR):
            operated.turn_on(sensor)
            operated.wait_for(sensor, lambda name=sensor: operated.ticks(name))
        operated.wait_for_ticks(AUTOMATION_SENSOR)
        assert operated.runs() == before, "nothing has changed, and a failure is not repeated"
        write_config(
            site.config,
            Path("/nowhere/dataset"),
            storage={"root": "/nowhere/storage"},
            schedule=OFTEN,
            runtime={"engine": "auto"},
            overrides={CATEGORY: {"coreset": {"percentage": 0.5}}},
        )
        expected = [(asset, CATEGORY) for asset in BY_CATEGORY[2:]] + [
            (asset, None) for asset in OVER_ALL
        ]
        operated.wait_for(
            "the rebuild",
            lambda: (
                len(operated.made(last)) >= len(expected)
                and all(run.is_finished for run in operated.runs())
            ),
        )
        operated.wait_for_ticks(*SENSORS)
        assert operated.made(last) == expected
        new = operated.runs()[len(before) :]
        assert [category_of_run(run) for run in new] == [CATEGORY, None]
        assert {run.status for run in new} == {dg.DagsterRunStatus.SUCCESS}
