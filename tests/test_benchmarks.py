"""The benchmarks' own machinery, and one of them from end to end on a few images."""

from __future__ import annotations

import argparse
import csv
import os
import runpy
import sys
from pathlib import Path

import dagster as dg
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY = REPOSITORY / "benchmarks" / "accuracy_study.yaml"
COMMANDS = [
    file.stem
    for file in sorted((REPOSITORY / "benchmarks").glob("*.py"))
    if "run_main(main)" in file.read_text(encoding="utf-8") and file.stem != "child"
]


@pytest.fixture(autouse=True)
def importable_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{command}", run_name="__main__")
    assert not ended.value.code
    assert f"python -m benchmarks.{command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("calibrated_rates", ["--storage", "nowhere"], "nowhere: holds no score_calibration"),
        ("one_more_image", ["--data", "nowhere"], "train/good: no such folder; correct --data"),
        ("large_category", ["--data", "nowhere"], "train/good: no such folder; correct --data"),
        ("shifted_images", ["--models", "nowhere", "--images", "."], "nowhere: is no model"),
        ("member_ranges", ["--config", "nowhere", "--category", "a"], "no such configuration file"),
        ("try_backbones", ["nothing"], "not in benchmarks/backbone_list.py: nothing"),
        (
            "accuracy",
            ["--root", ".", "--categories", "a", "--setting", "b", "nowhere.yaml"],
            "nowhere.yaml: cannot be read",
        ),
        (
            "accuracy",
            ["--root", ".", "--categories", "a", "--study", str(STUDY), "nothing"],
            "accuracy_study.yaml: has no nothing",
        ),
    ],
)
def test_a_mistake_in_a_command_is_one_sentence(
    command: str, options: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [command, *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{command}", run_name="__main__")
    assert sentence in str(ended.value.code)
    assert "Traceback" not in str(ended.value.code)


def test_nothing_is_measured_zero_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["coreset_sweep", "--data", ".", "--repeats", "0"])
    with pytest.raises(SystemExit):
        runpy.run_module("benchmarks.coreset_sweep", run_name="__main__")
    assert "argument --repeats: invalid positive value: '0'" in capsys.readouterr().err


def test_a_large_category_is_made_with_all_that_its_assets_need(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    from benchmarks.large_category import _ASSETS
    from patchcore_assets.graph import define
    from patchcore_ops.config import load_config

    file = tmp_path / "large.yaml"
    file.write_text(f"dataset: {{root: {tiny_dataset}, categories: discover}}", encoding="utf-8")
    graph = define(load_config(file)).resolve_asset_graph()
    for asset in _ASSETS:
        needed = graph.get(dg.AssetKey(asset)).parent_keys & graph.materializable_asset_keys
        assert {key.to_user_string() for key in needed} <= {*_ASSETS[: _ASSETS.index(asset)]}


def test_a_task_runs_in_its_own_process_with_stated_threads() -> None:
    from benchmarks.measuring import run_command, run_task

    run = run_task("os:getpid", {}, threads=1)
    assert run.result != os.getpid()
    assert run.wall_seconds > 0
    assert run.peak_bytes > 1e6
    show = "import os; assert os.environ['OMP_NUM_THREADS'] == '3'"
    run_command([sys.executable, "-c", show], threads=3)
    with pytest.raises(SystemExit, match="ended with 7"):
        run_command([sys.executable, "-c", "raise SystemExit(7)"], threads=1)


def test_results_are_written_as_table_page_and_plot(tmp_path: Path) -> None:
    from benchmarks import tables

    rows = [
        {"what": "a", "seconds": 2.0, "runs": "2.0"},
        {"what": "b", "seconds": None, "runs": ""},
    ]
    tables.write(
        argparse.Namespace(out=tmp_path, name=None),
        "small",
        tables.Table("Small", rows, ["a note"]),
        lambda axes: tables.draw_bars(axes, ["a"], {"seconds": [2.0]}, "seconds"),
    )
    page = (tmp_path / "small.md").read_text()
    assert "| a | 2 |\n| b |  |" in page
    assert "- a note" in page
    assert (tmp_path / "small.csv").read_text().splitlines()[1] == "a,2.0,2.0"
    assert (tmp_path / "small.png").stat().st_size > 1000


def test_part_of_a_category_keeps_all_labels_and_their_masks(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    from benchmarks.workloads import link_category
    from patchcore_ops.dataset import scan_category

    whole = scan_category(tiny_dataset, "fabric_a").images
    labels = set(whole.loc[whole["split"] == "test", "label"])
    link_category(tiny_dataset, "fabric_a", tmp_path, 2, len(labels))
    part = scan_category(tmp_path, "fabric_a").images
    assert (part["split"] == "train").sum() == 2
    assert set(part.loc[part["split"] == "test", "label"]) == labels


def test_enough_networks_are_tried_and_a_row_says_what_came_of_each() -> None:
    from benchmarks import try_backbones
    from benchmarks.backbone_list import Trial, trials

    listed = trials()
    assert len({trial.name for trial in listed}) == len(listed) >= 60
    assert len({try_backbones.family_of(trial.name) for trial in listed}) >= 40
    trial = Trial("test_resnet", 64, ("conv1", "fc"))
    good, refused = try_backbones.try_in_time(trial, 60)
    assert (good["layers"], good["layout"]) == ("conv1, act1, layer1, layer3, layer4", "NCHW")
    assert good["map"].startswith("32 x 32 x 32")
    assert float(good["exported"]) < 1e-4
    assert refused["layout"].startswith("refused: the output of layer is no feature map")
    with (REPOSITORY / "docs" / "backbones.csv").open() as published:
        rows = list(csv.DictReader(published))
    assert {row["network"] for row in rows} == {trial.name for trial in listed}
    assert list(rows[0]) == list(good)
