"""The asset `inspections`: images of an inbox, judged by day as the benchmark judges its own."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster._core.definitions.data_version import StaleStatus
from inspection_kit import DAY, INBOX, NEXT, NOON, Line
from PIL import Image
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    MEMBER,
    OTHER,
    OVER_ALL,
    Configure,
    execute,
    failures,
)

from patchcore_assets.graph import INSPECTIONS_JOB, define
from patchcore_assets.partitions import Partition
from patchcore_ops.config import load_config
from patchcore_ops.config.snapshot import configuration_hash, restore, snapshot
from patchcore_ops.inspection.inbox import InboxProblem, open_inbox
from patchcore_ops.runtime.errors import ConfigError


def test_it_is_there_only_where_an_inbox_is_named(configure: Configure) -> None:
    key = dg.AssetKey("inspections")
    without = define(load_config(configure()))
    assert key not in without.resolve_asset_graph().get_all_asset_keys()
    named = load_config(configure(inbox=INBOX))
    defined = define(named)
    node = defined.resolve_asset_graph().get(key)
    assert {one.to_user_string() for one in node.parent_keys} == {"model"}
    assert node.automation_condition is None
    assert [one.name for one in defined.resolve_job_def(INSPECTIONS_JOB).nodes] == ["inspections"]
    [sensor] = [one for one in defined.sensors or () if one.name == "inspect_inbox"]
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_the_section_is_checked_and_kept_with_a_run(configure: Configure, tmp_path: Path) -> None:
    for no_day in ("yesterday", "2026-02-30", "0001-01-01", "9999-12-31"):
        with pytest.raises(ConfigError, match=r"inbox\.first_day: must be a day such as 2026-"):
            load_config(configure(inbox={"first_day": no_day}))
    with pytest.raises(ConfigError, match=r"inbox\.root: holds credentials"):
        load_config(configure(inbox={"root": "s3://key:secret@bucket/x"}))
    config = load_config(configure(inbox={"root": "in", "first_day": "2026-02-03"}))
    assert config.inbox is not None
    assert config.inbox.root == str(tmp_path / "in")
    assert restore(snapshot(config)) == config
    assert configuration_hash(config) != configuration_hash(load_config(configure(inbox={})))
    at_url = load_config(configure(inbox={"root": "s3://bucket/in/"}))
    assert at_url.inbox is not None
    assert at_url.inbox.root == "s3://bucket/in"


def test_scores_are_those_of_test_predictions(line: Line) -> None:
    known = pd.read_parquet(line.storage / "test_predictions" / CATEGORY / "scores.parquet")
    for number, path in enumerate(known["path"]):
        line.put(line.dataset / path, f"line 1/{number}.png", NOON + number)
    line.put(b"\x89PNG\r\n\x1a\nhalf", "broken.png")
    line.put(b"", "notes.txt")
    line.put(b"", ".hidden.png")
    line.put(line.dataset / known["path"][0], "of_the_next_day.png", NOON + 86400)
    metadata = line.inspect()
    table = line.table()
    assert set(table.index) == {"broken.png", *(f"line 1/{at}.png" for at in range(len(known)))}
    found = table.loc[[f"line 1/{number}.png" for number in range(len(known))]]
    np.testing.assert_allclose(found["score"], known["score"], rtol=1e-5)
    calibration = json.loads(
        (line.storage / "score_calibration" / CATEGORY / "calibration.json").read_text()
    )
    threshold = calibration["image_threshold"]
    assert list(found["is_anomaly"]) == [score > threshold for score in found["score"]]
    assert all((line.folder() / name).is_file() for name in found["heat_map"])
    broken = table.loc["broken.png"]
    assert broken["reason"].startswith("broken.png: cannot be decoded as an image")
    assert broken[["score", "p_value", "is_anomaly", "heat_map"]].isna().all()
    assert len(pd.read_csv(line.folder() / "inspections.csv")) == len(table)
    rejects = sum(score > threshold for score in found["score"])
    assert (metadata["images"], metadata["rejects"], metadata["unreadable"]) == (
        len(known) + 1,
        rejects,
        1,
    )
    assert metadata["median_p_value"] == float(np.median(found["p_value"]))
    assert metadata["most_anomalous"].startswith("![most anomalous](data:image/jpeg;base64,")
    assert len(metadata["rejected"].records) == rejects
    assert line.checks()["every_image_was_read"] is False


def test_an_ensemble_scores_single_images_as_its_test_images(line: Line) -> None:
    line.configure(
        embedding={
            "members": [MEMBER, {**MEMBER, "layers": ["blocks.2"]}],
            "target_embed_dimension": 24,
            "pretrain_embed_dimension": 32,
        },
        scoring={"ensemble": "leave_one_out"},
        # In shards, while an inbox has single images.
        runtime={"images_per_shard": 4},
    )
    line.make(*BY_CATEGORY)
    known = pd.read_parquet(line.storage / "test_predictions" / CATEGORY / "scores.parquet")
    assert {"score_0", "score_1"} < set(known.columns)
    for number, path in enumerate(known["path"]):
        line.put(line.dataset / path, f"{number}.png", NOON + number)
    line.inspect()
    found = line.table().loc[[f"{number}.png" for number in range(len(known))]]
    np.testing.assert_allclose(found["score"], known["score"], rtol=1e-5)
    assert line.status("test_predictions", CATEGORY) is StaleStatus.FRESH
    sidecar = json.loads(
        (line.storage / "test_predictions" / CATEGORY / "artefact.json").read_text()
    )
    assert set(sidecar["made_from"]) > {f"memory_bank.{CATEGORY}"}
    # Without units, the bank is no parent any more.
    line.configure(embedding={"members": [MEMBER]})
    assert line.status("test_predictions", CATEGORY) is StaleStatus.STALE


def test_a_day_is_added_to_and_a_new_model_judges_it_again(line: Line) -> None:
    images = line.images("test")
    line.put(images[0], "a.png")
    line.put(images[1], "b.png")
    assert line.inspect()["scored_now"] == 2
    first = line.table()
    line.put(images[2], "c.png")
    (line.inbox / CATEGORY / "a.png").unlink()
    assert line.inspect()["scored_now"] == 1
    second = line.table()
    pd.testing.assert_frame_equal(second.loc[["a.png", "b.png"]], first)
    assert (line.folder() / first["heat_map"]["a.png"]).is_file()
    # Nothing is new, so the version stays.
    version = json.loads((line.folder() / "artefact.json").read_text())["data_version"]
    assert line.inspect()["scored_now"] == 0
    assert json.loads((line.folder() / "artefact.json").read_text())["data_version"] == version
    assert line.day_status(DAY) is StaleStatus.FRESH
    line.inspect(NEXT)
    assert line.table(NEXT).empty
    # Another model makes every day stale; made again, an image that is gone stays as it was.
    line.configure(calibration={"false_positive_rate": 0.3})
    line.make("score_calibration", "model")
    assert (line.day_status(DAY), line.day_status(NEXT)) == (StaleStatus.STALE, StaleStatus.STALE)
    assert line.inspect()["scored_now"] == 2
    assert (line.day_status(DAY), line.day_status(NEXT)) == (StaleStatus.FRESH, StaleStatus.STALE)
    third = line.table()
    versions = third["model_version"]
    assert versions["a.png"] == first["model_version"]["a.png"]
    assert versions["b.png"] == versions["c.png"] != versions["a.png"]


def test_a_category_whose_folder_is_gone_has_no_new_images(line: Line) -> None:
    line.put(line.images("test")[0], "a.png")
    line.inspect()
    first = line.table()
    shutil.rmtree(line.inbox / CATEGORY)
    assert line.inspect()["scored_now"] == 0
    pd.testing.assert_frame_equal(line.table(), first)
    assert open_inbox(str(line.inbox)).arrivals(OTHER) == []
    line.inbox.rmdir()
    with pytest.raises(InboxProblem, match=rf"^{line.inbox}: cannot be read"):
        open_inbox(str(line.inbox)).arrivals(CATEGORY)


def test_a_model_keeps_the_limit_of_pixels_that_it_was_made_with(line: Line) -> None:
    line.configure(dataset={"max_pixels": 64 * 64})
    line.make("model")
    with Image.open(line.images("test")[0]) as image:
        image.resize((65, 64)).save(line.put(b"", "large.png"), "PNG")
    os.utime(line.inbox / CATEGORY / "large.png", (NOON, NOON))
    line.inspect()
    said = "more than dataset.max_pixels (4,096), which a model keeps; raise that, and make the"
    assert said in line.table()["reason"]["large.png"]
    line.configure(dataset={"max_pixels": 65 * 64})
    line.inspect()
    assert said in line.table()["reason"]["large.png"]
    line.make("model")
    line.inspect()
    assert line.table()["reason"].isna().all()


def test_a_model_of_one_train_image_has_no_thresholds(line: Line) -> None:
    for image in line.images("train")[1:]:
        image.unlink()
    line.make(*BY_CATEGORY)
    line.put(line.images("test")[0], "a.png")
    result = line.make("inspections", partition=Partition(CATEGORY, DAY).key)
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert [name for name, one in found.items() if not one.passed] == [
        "rejects_are_expected",
        "scores_have_not_drifted",
    ]
    for name in ("rejects_are_expected", "scores_have_not_drifted"):
        assert "add train images, and make the model again" in (found[name].description or "")


def test_checks_warn_of_rejects_and_drift(line: Line) -> None:
    for number, image in enumerate(line.images("train")[:20]):
        line.put(image, f"{number}.png")
    line.inspect()
    assert line.checks()["every_image_was_read"] is True
    assert line.checks()["rejects_are_expected"] is True
    # Other products on the line.
    for number, image in enumerate(line.images("train", OTHER)[:20]):
        line.put(image, f"other {number}.png", NOON + 86400)
    line.inspect(NEXT)
    assert line.checks() == {
        "rejects_are_expected": False,
        "scores_have_not_drifted": False,
        "every_image_was_read": True,
    }


def test_the_report_shows_the_days_and_does_not_depend_on_them(line: Line) -> None:
    image = line.images("test")[0]
    line.put(image, "a.png")
    line.put(image, "b.png")
    line.put(b"no image", "c.png")
    line.inspect()
    line.inspect(NEXT)
    [p_value, _] = line.table()["p_value"].dropna()
    rejects = int(line.table()["is_anomaly"].sum())
    result = execute(line.file, *OVER_ALL, partition=None, instance=line.instance)
    assert result.success, failures(result)
    page = (line.storage / "benchmark_report/index.html").read_text(encoding="utf-8")
    [section] = re.findall(r'<section id="inspections".*?</section>', page, re.DOTALL)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in section.split("<tr>")[2:]]
    assert rows == [
        [CATEGORY, NEXT, "0", "0", "0", "—"],
        [CATEGORY, DAY, "3", str(rejects), "1", f"{p_value:.3f}"],
    ]
    line.inspect()
    assert line.status("benchmark_report", None) is StaleStatus.FRESH
