"""An installation whose daemon and webserver are at work, as its user sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dagster as dg
from pipeline_kit import BY_CATEGORY, OVER_ALL
from webserver_process import Webserver

# A run takes some ten seconds on an idle machine, and there are three after each other.
DEADLINE = 240.0

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
