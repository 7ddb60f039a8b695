"""The real daemon and webserver: a backfill is a wave, and an edit rebuilds what depends on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from operated import BACKFILL, Operated
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    OVER_ALL,
    category_of_run,
    make_site,
    write_config,
)
from webserver_process import webserver

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.conditions import AUTOMATION_SENSOR
from patchcore_assets.automation.waves import SUMMARY_JOB, SUMMARY_SENSOR, WAVE
from patchcore_assets.inputs.watch import WATCH_SENSOR

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("pip_weights")]

OFTEN = {"seconds_between_looks": 1}
SENSORS = (WATCH_SENSOR, AUTOMATION_SENSOR, SUMMARY_SENSOR)


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
