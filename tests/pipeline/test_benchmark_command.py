"""`patchcore-benchmark`: every category, then the table, whatever fails on the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, OVER_ALL, Configure, versions

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.waves import WAVE, WAVE_RUNS
from patchcore_assets.commands.benchmark import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a Dagster home, and a working folder without a dagster.yaml."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def history(home: Path) -> list[tuple[str | None, str]]:
    """Return the partition and status of every run, oldest first."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs(ascending=True)
    return [(run.tags.get("dagster/partition"), run.status.value) for run in runs]


@pytest.mark.usefixtures("pip_weights")
def test_each_call_makes_all_categories_then_the_table_as_a_wave(
    configure: Configure, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = tmp_path / "storage" / "metrics"
    report = tmp_path / "storage" / "benchmark_report" / "index.html"
    assert main(["--config", str(configure())]) == 0
    said = capsys.readouterr().out
    for expected in (f"[1/2] {CATEGORY}", f"[2/2] {OTHER}", "instance_auroc", "2 categories in "):
        assert expected in said
    for line in (f"table:   {metrics / 'metrics.csv'}", f"report:  {report}", f"history: {home}"):
        assert line in said.splitlines()
    table = pd.read_parquet(metrics / "metrics.parquet")
    assert list(table["category"]) == [CATEGORY, OTHER, "Mean"]
    [shown] = [line.split() for line in said.splitlines() if line.split()[:1] == ["Mean"]]
    for name in ("instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro"):
        mean = table[name].iloc[:2].mean()
        assert table[name].iloc[2] == pytest.approx(mean, rel=1e-12)
        assert f"{mean:.4f}" in shown
    assert 'id="compare-previous"' not in report.read_text(encoding="utf-8")

    # The table of the next wave has the other category too, as the first has left it.
    assert main(["--config", str(configure(coreset={"percentage": 0.5})), CATEGORY]) == 0
    assert 'id="compare-previous"' in report.read_text(encoding="utf-8")
    one, other, summary = ((name, "SUCCESS") for name in (CATEGORY, OTHER, None))
    assert history(home) == [one, other, summary, one, summary]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs(ascending=True)
        for asset in BY_CATEGORY:
            made = instance.get_materialized_partitions(dg.AssetKey(asset))
            assert made == {CATEGORY, OTHER}, asset
    waves = [run.tags[WAVE] for run in runs]
    first, second = waves[0], waves[3]
    assert waves == [first] * 3 + [second] * 2
    assert first < second
    assert not any(WAVE_RUNS in run.tags for run in runs), "the sensor leaves them alone"
    kept = pd.read_parquet(metrics / "history.parquet")
    assert list(kept["wave"]) == [first, first, second, second]
    assert list(kept["category"]) == [CATEGORY, OTHER] * 2
    table = pd.read_parquet(metrics / "metrics.parquet")
    latest = kept.loc[kept["wave"] == second, table.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(latest, table.iloc[:2])
    assert list(kept["run_id"]) == [runs[2].run_id] * 2 + [runs[4].run_id] * 2


@pytest.mark.usefixtures("pip_weights")
def test_a_broken_category_does_not_stop_the_others(
    configure: Configure, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = tmp_path / "dataset"
    build_tiny_dataset(dataset, categories=(CATEGORY, OTHER))
    shutil.rmtree(dataset / CATEGORY / "train")
    config = configure(dataset={"root": str(dataset)})
    assert main(["--config", str(config)]) == 1
    said = capsys.readouterr()
    assert f"[2/2] {OTHER}" in said.out
    assert "instance_auroc" in said.out
    failed = [line for line in said.err.splitlines() if line.startswith("FAILED ")]
    expected = dataset / CATEGORY / "train" / "good"
    assert failed == [
        f"FAILED {CATEGORY}: {expected}: holds no images; PatchCore needs normal ones"
    ]
    of_steps = [line.split(" ", 1)[1] for line in said.err.splitlines() if line not in failed]
    assert f"image_manifest: ERROR {failed[0].removeprefix(f'FAILED {CATEGORY}: ')}" in of_steps
    assert {line.split(":")[0] for line in of_steps} <= {*BY_CATEGORY, *OVER_ALL}, "no stack"
    table = pd.read_parquet(tmp_path / "storage" / "metrics" / "metrics.parquet")
    assert list(table["category"]) == [OTHER, "Mean"]
    assert history(home) == [(CATEGORY, "FAILURE"), (OTHER, "SUCCESS"), (None, "SUCCESS")]
    assert not versions(tmp_path / "storage", "image_manifest", CATEGORY)


def test_without_any_category_the_table_is_what_fails_last(
    configure: Configure, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(dataset={"root": str(tmp_path / "nowhere")})
    assert main(["--config", str(config)]) == 1
    said = capsys.readouterr()
    failed = [line for line in said.err.splitlines() if line.startswith("FAILED ")]
    assert [line.split(":")[0] for line in failed] == [
        f"FAILED {CATEGORY}",
        f"FAILED {OTHER}",
        "FAILED metrics",
    ]
    assert failed[-1] == "FAILED metrics: no category succeeded"
    assert "table:" not in said.out
    assert [status for _, status in history(home)] == ["FAILURE"] * 2


@pytest.mark.parametrize(
    ("sections", "arguments", "sentence"),
    [
        ({"coreset": {"percentage": 7}}, [], "coreset.percentage: "),
        ({"schedule": {"cron": "weekly"}}, [], "schedule.cron: "),
        ({}, ["zipper"], "'zipper' is not one of the configured categories"),
        ({"storage": {"root": "s3://b"}}, ["--presets", "fast"], "storage.root: s3://b is a whole"),
    ],
)
def test_a_config_mistake_returns_two_with_its_sentence(
    configure: Configure,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    sections: dict[str, dict[str, object]],
    arguments: list[str],
    sentence: str,
) -> None:
    assert main(["--config", str(configure(**sections)), *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1
    assert history(home) == []


def test_a_missing_file_is_a_config_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATCHCORE_CONFIG", str(tmp_path / "absent.yaml"))
    assert main([]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'absent.yaml'}: no such configuration")


def test_a_dagster_yaml_here_keeps_the_history_without_a_home(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = Path(__file__).resolve().parents[2]
    shutil.copy(repository / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    config = configure(dataset={"root": str(tmp_path / "nowhere")})
    assert main(["--config", str(config), CATEGORY]) == 1
    assert (tmp_path / ".dagster" / "storage").is_dir()
    assert [partition for partition, _ in history(tmp_path)] == [CATEGORY]
    said = capsys.readouterr().out
    assert f"[1/1] {CATEGORY}" in said
    assert "\n1 category in " in said
    assert f"history: {tmp_path / '.dagster'}" in said.splitlines()


def test_where_no_history_is_kept_the_command_says_how_to_have_one(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(configure(dataset={"root": str(tmp_path / "nowhere")}))]) == 1
    [said] = [line for line in capsys.readouterr().out.splitlines() if "history" in line]
    assert said == (
        f"history: none is kept: {tmp_path} has no dagster.yaml; run in a folder with a copy of "
        "the repository's, or set DAGSTER_HOME to one"
    )


@pytest.mark.parametrize("named", ["relative", "/nowhere/at/all"])
def test_a_home_that_is_none_is_a_sentence(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: str,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", named)
    assert main(["--config", str(configure())]) == 2
    assert capsys.readouterr().err == (
        f"DAGSTER_HOME: must be the absolute path of an existing folder (got '{named}')\n"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("storage:\n\tsqlite: x\n", "while scanning for the next token"),
        ("storge: {}\n", "Errors whilst loading dagster instance config"),
        ("storage: {sqlite: {base_dir: file/storage}}\n", "Not a directory"),
    ],
    ids=["no YAML", "unknown key", "no folder"],
)
def test_a_history_that_cannot_be_opened_is_a_sentence(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
    reason: str,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dagster.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(configure())]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{tmp_path}/dagster.yaml: the run history cannot be opened (")
    assert reason in said


@pytest.mark.usefixtures("pip_weights", "home")
def test_a_report_that_fails_leaves_the_table_and_a_reason(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        try:
            raise KeyError("bottle")
        except KeyError as error:
            raise RuntimeError("cannot draw:") from error

    monkeypatch.setattr("patchcore_ops.report.render.render_report", fail)
    assert main(["--config", str(configure()), CATEGORY]) == 1
    said = capsys.readouterr()
    assert f"table:   {tmp_path / 'storage' / 'metrics' / 'metrics.csv'}" in said.out
    assert [line.split()[0] for line in said.out.splitlines() if "0." in line] == [CATEGORY, "Mean"]
    assert "report:" not in said.out
    failed = [line for line in said.err.splitlines() if line.startswith("FAILED ")]
    assert failed == ["FAILED benchmark_report: KeyError: 'bottle'"]
    assert said.err.count("RuntimeError: cannot draw:") == 1, "a fault has its stack, once"
    assert 'raise KeyError("bottle")' in said.err


@pytest.mark.usefixtures("pip_weights", "home")
def test_presets_are_run_into_storages_of_their_own_and_compared(
    configure: Configure,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PATCHCORE_PRESET", "PATCHCORE_STORAGE_ROOT"):
        # The command sets them; afterwards they are as before.
        monkeypatch.setenv(name, "")
    presets = ["reference", "fast"]
    config = configure()
    assert main([CATEGORY, CATEGORY, "--config", str(config), "--presets", *presets, "fast"]) == 0
    said = capsys.readouterr().out.splitlines()
    side_by_side = [line.split() for line in said if line.split()[:1] == ["Mean"]][2:]
    for preset, shown in zip(presets, side_by_side, strict=True):
        storage = tmp_path / f"storage-{preset}"
        table = pd.read_parquet(storage / "metrics" / "metrics.parquet")
        assert shown[:2] == ["Mean", preset]
        assert shown[2] == f"{table['instance_auroc'].iloc[-1]:.4f}"
        settings = (storage / "test_predictions" / CATEGORY / "settings.json").read_text()
        assert ("smoothed_max" in settings) is (preset == "fast")
    assert not (tmp_path / "storage").exists()

    config = configure(dataset={"root": str(tmp_path / "elsewhere")})
    monkeypatch.setenv("PATCHCORE_STORAGE_ROOT", "")
    assert main([CATEGORY, "--config", str(config), "--presets", "fast"]) == 1
    said = capsys.readouterr()
    assert "FAILED metrics: no category succeeded" in said.err
    assert "instance_auroc" not in said.out, "the table of the wave before is not this one's"


def test_an_unknown_preset_is_refused(
    configure: Configure, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATCHCORE_PRESET", "")
    monkeypatch.setenv("PATCHCORE_STORAGE_ROOT", "")
    assert main(["--config", str(configure()), "--presets", "fats"]) == 2
    sentence = "--presets: 'fats' is none of reference, accurate, fast; name categories before"
    assert sentence in capsys.readouterr().err
    assert main(["--config", str(configure()), "--presets", "fast", CATEGORY]) == 2
    assert f"--presets: '{CATEGORY}' is none of" in capsys.readouterr().err
