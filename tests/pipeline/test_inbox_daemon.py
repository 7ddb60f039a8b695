"""The real daemon inspects images that arrive one by one, some while they are being written."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from inspection_kit import Line
from operated import BACKFILL, Operated
from pipeline_kit import CATEGORY, Site
from webserver_process import webserver

from patchcore_assets.graph import INSPECTIONS_JOB
from patchcore_assets.partitions import Partition

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("pip_weights")]

SENSOR = "inspect_inbox"
OFTEN = {"seconds_between_looks": 1}
# A file that grows every half second is never as old as that.
INBOX = {"root": "inbox", "first_day": "2025-01-01", "settled_seconds": 2}
PIECES, PAUSE = 8, 0.5


def test_every_image_is_judged_once_and_none_half_written(line: Line) -> None:
    line.configure(inbox=INBOX, schedule=OFTEN)
    home = line.storage.parent / "home"
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    site = Site(line.file, line.dataset, line.storage, home)
    images = line.images("test")
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        webserver(home, site.environment, command=("dagster", "dev")) as server,
    ):
        operated = Operated(instance, server)
        status = operated.wait_for("the code location", operated.sensors)
        assert status[SENSOR] == "STOPPED"
        operated.turn_on(SENSOR)
        folder = line.inbox / CATEGORY
        folder.mkdir(parents=True)
        for number, image in enumerate(images[:6]):
            content, file = image.read_bytes(), folder / f"{number}.png"
            if number % 2 == 0:
                file.write_bytes(content)
                continue
            size = -(-len(content) // PIECES)
            for start in range(0, len(content), size):
                with file.open("ab") as stream:
                    stream.write(content[start : start + size])
                time.sleep(PAUSE)
        days = {
            datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
            for file in folder.iterdir()
        }
        operated.wait_for("all images", lambda: sum(map(len, tables(line, days))) == 6)
        operated.wait_for_ticks(SENSOR)
        operated.wait_for("no run", lambda: all(run.is_finished for run in operated.runs()))
        runs = [run for run in operated.runs() if run.job_name == INSPECTIONS_JOB]
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        found = pd.concat(tables(line, days)).set_index("path")
        assert sorted(found.index) == [f"{number}.png" for number in range(6)]
        assert found["reason"].isna().all(), "none was read while it was being written"
        known = pd.read_parquet(line.storage / "test_predictions" / CATEGORY / "scores.parquet")
        scores = known.set_index("path")["score"]
        for number, image in enumerate(images[:6]):
            expected = scores[image.relative_to(line.dataset).as_posix()]
            assert found["score"][f"{number}.png"] == pytest.approx(expected, rel=1e-5)
        records = instance.fetch_materializations(dg.AssetKey("inspections"), limit=100).records
        assert len(records) == len(runs)
        made = [one.asset_materialization for one in records]
        assert sum(one.metadata["scored_now"].value for one in made if one) == 6
        unreadable = [one.metadata["unreadable"].value for one in made if one]
        assert set(unreadable) == {0}

        # A backfill with another model, as the UI asks for it.
        line.configure(
            inbox=INBOX,
            schedule=OFTEN,
            calibration={"false_positive_rate": 0.3},
        )
        line.make("score_calibration", "model")
        asked = {
            "assetSelection": [{"path": ["inspections"]}],
            "partitionNames": [Partition(CATEGORY, day).key for day in sorted(days)],
        }
        launched = operated.ask(BACKFILL, asked=asked)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess"
        before = set(found["model_version"])
        operated.wait_for(
            "the backfill",
            lambda: (
                not before & {one for day in tables(line, days) for one in day["model_version"]}
            ),
        )
        again = pd.concat(tables(line, days)).set_index("path")
        pd.testing.assert_series_equal(again["score"].sort_index(), found["score"].sort_index())


def tables(line: Line, days: set[str]) -> list[pd.DataFrame]:
    files = [line.folder(day) / "inspections.parquet" for day in days]
    return [read(file) for file in files if file.is_file()]


def read(file: Path) -> pd.DataFrame:
    """Read a table although its version may be replaced at this moment."""
    try:
        return pd.read_parquet(file)
    except FileNotFoundError:
        return pd.DataFrame()
