"""The real daemon and webserver: edits rebuild what depends on them, and backfills are waves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    Site,
    category_of_run,
    make_site,
    write_config,
)

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.conditions import AUTOMATION_SENSOR
from patchcore_assets.automation.waves import SUMMARY_JOB, SUMMARY_SENSOR, WAVE
from patchcore_assets.command import main
from patchcore_assets.inputs.watch import WATCH_SENSOR

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("pip_weights")]

# A run takes some ten seconds on an idle machine, and there are two after each other.
DEADLINE = 240.0
OFTEN = {"seconds_between_looks": 1}

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

    def __init__(self, site: Site, instance: dg.DagsterInstance, address: str) -> None:
        self.site = site
        self.instance = instance
        self.address = address

    def ask(self, query: str, **variables: Any) -> Any:
        """Send a GraphQL query to the webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.address}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def sensors(self) -> dict[str, str]:
        """Return the status of every sensor; empty while the code location is being loaded."""
        try:
            answer = self.ask(STATUS)["data"]["sensorsOrError"]
        except (OSError, KeyError, TypeError):
            return {}
        return {one["name"]: one["sensorState"]["status"] for one in answer.get("results", [])}

    def turn_on(self, sensor: str) -> None:
        """Turn a sensor on, as one click in the UI does."""
        started = self.ask(START_SENSOR, name=sensor)["data"]["startSensor"]
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


def wait_for(what: str, happened: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
    """Ask again until something has happened."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if result := happened():
            return result
        assert process.poll() is None, "dagster dev has ended"
        time.sleep(0.25)
    raise AssertionError(f"{what}: not within {DEADLINE:.0f} s")


@contextmanager
def daemon_and_webserver(site: Site, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run `dagster dev`, and end it with all processes that it has started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("dagster")),
        *("dev", "-m", "patchcore_assets", "--host", "127.0.0.1", "--port", str(port)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=site.environment,
            cwd=site.home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process, f"http://127.0.0.1:{port}"
        except BaseException as problem:
            problem.add_note(log.read_text(encoding="utf-8", errors="replace")[-8000:])
            raise
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def site(tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Make an installation whose categories are benchmarked already."""
    site = make_site(tmp_path, tiny_dataset, schedule=OFTEN)
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    return site


def test_an_edited_override_rebuilds_its_category_and_then_the_table(
    site: Site, tmp_path: Path
) -> None:
    log = tmp_path / "dagster-dev.log"
    with (
        dg.DagsterInstance.from_config(str(site.home)) as instance,
        daemon_and_webserver(site, log) as (process, address),
    ):
        operated = Operated(site, instance, address)
        before, last = operated.runs(), instance.event_log_storage.get_maximum_record_id() or 0
        status = wait_for("the code location", operated.sensors, process)
        assert status[WATCH_SENSOR] == status[AUTOMATION_SENSOR] == "STOPPED"
        assert status[SUMMARY_SENSOR] == "RUNNING"
        for sensor in (WATCH_SENSOR, AUTOMATION_SENSOR):
            operated.turn_on(sensor)
            wait_for(sensor, lambda name=sensor: operated.ticks(name), process)
        assert operated.runs() == before, "nothing has changed yet"

        write_config(
            site.config,
            Path("/nowhere/dataset"),
            storage={"root": "/nowhere/storage"},
            schedule=OFTEN,
            overrides={OTHER: {"coreset": {"percentage": 0.5}}},
        )
        expected = [(asset, OTHER) for asset in BY_CATEGORY[2:]] + [
            (asset, None) for asset in OVER_ALL
        ]
        wait_for(
            "the rebuild",
            lambda: (
                len(operated.made(last)) >= len(expected)
                and all(run.is_finished for run in operated.runs())
            ),
            process,
        )
        # Two more ticks of each, to see that this is all.
        sensors = (WATCH_SENSOR, AUTOMATION_SENSOR, SUMMARY_SENSOR)
        enough = {sensor: operated.ticks(sensor) + 2 for sensor in sensors}
        wait_for(
            "two more ticks",
            lambda: all(operated.ticks(sensor) >= enough[sensor] for sensor in sensors),
            process,
        )
        assert operated.made(last) == expected
        new = operated.runs()[len(before) :]
        assert [category_of_run(run) for run in new] == [OTHER, None]
        assert {run.status for run in new} == {dg.DagsterRunStatus.SUCCESS}


def test_a_backfill_with_a_broken_category_ends_in_table_and_report(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    build_tiny_dataset(dataset, categories=(CATEGORY, OTHER))
    shutil.rmtree(dataset / OTHER / "train")
    site = make_site(tmp_path, dataset, schedule=OFTEN)
    with (
        dg.DagsterInstance.from_config(str(site.home)) as instance,
        daemon_and_webserver(site, tmp_path / "dagster-dev.log") as (process, address),
    ):
        operated = Operated(site, instance, address)
        wait_for("the code location", operated.sensors, process)
        # As the UI asks for all assets and categories.
        asked = {
            "assetSelection": [{"path": [asset]} for asset in (*BY_CATEGORY, *OVER_ALL)],
            "partitionNames": [CATEGORY, OTHER],
        }
        launched = operated.ask(BACKFILL, asked=asked)["data"]["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess"
        wait_for(
            "the summary",
            lambda: [
                run for run in operated.runs() if run.job_name == SUMMARY_JOB and run.is_finished
            ],
            process,
        )
        enough = operated.ticks(SUMMARY_SENSOR) + 2
        wait_for("two more ticks", lambda: operated.ticks(SUMMARY_SENSOR) >= enough, process)
        *by_category, summary = operated.runs()
        assert {category_of_run(run): run.status.value for run in by_category} == {
            CATEGORY: "SUCCESS",
            OTHER: "FAILURE",
        }
        assert len(by_category) == 2
        assert summary.status is dg.DagsterRunStatus.SUCCESS
    wave = summary.tags[WAVE]
    assert wave.endswith(f" {launched['backfillId']}")
    table = pd.read_parquet(site.storage / "metrics" / "metrics.parquet")
    assert list(table["category"]) == [CATEGORY, "Mean"]
    history = pd.read_parquet(site.storage / "metrics" / "history.parquet")
    assert list(history["wave"]) == [wave]
    assert (site.storage / "benchmark_report" / "index.html").is_file()
