"""`patchcore benchmark --launch`: a wave through the queue, from the command to its table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import CATEGORY, OTHER, Site, category_of_run, make_site, write_config
from webserver_process import webserver

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.waves import SUMMARY_JOB, WAVE, WAVE_RUNS
from patchcore_assets.commands import launched_wave
from patchcore_assets.commands.main import main

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("pip_weights")]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an installation of which one category fails."""
    dataset = tmp_path / "dataset"
    build_tiny_dataset(dataset, categories=(CATEGORY, OTHER), train=4, test_good=2)
    shutil.rmtree(dataset / OTHER / "train")
    return make_site(tmp_path, dataset, schedule={"seconds_between_looks": 1})


def launched(site: Site, *categories: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("patchcore")),
            *("benchmark", "--launch", *categories),
        ],
        env=site.environment,
        cwd=site.home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_wave_is_queued_followed_and_ends_in_its_table(site: Site) -> None:
    with webserver(site.home, site.environment, command=("dagster", "dev")):
        ended = launched(site)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    [queued] = [line for line in lines if line.startswith("2 runs are queued, as wave ")]
    wave = queued.removeprefix("2 runs are queued, as wave ")
    assert any(f"{CATEGORY}: done" in line for line in lines)
    assert any(f"{OTHER}: failure" in line for line in lines)
    assert sum(line.startswith("[2/2]") for line in lines) == 1
    assert any(line.split()[:1] == ["Mean"] for line in lines)
    [failed] = [line for line in ended.stderr.splitlines() if line.startswith("FAILED")]
    assert failed.startswith(f"FAILED {OTHER}: ")
    assert "train" in failed
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        *by_category, summary = reversed(instance.get_runs())
    assert {category_of_run(run): run.status.value for run in by_category} == {
        CATEGORY: "SUCCESS",
        OTHER: "FAILURE",
    }
    assert all(run.tags[WAVE] == wave and run.tags[WAVE_RUNS] == "2" for run in by_category)
    assert (summary.job_name, summary.tags[WAVE], summary.is_success) == (SUMMARY_JOB, wave, True)
    table = pd.read_parquet(site.storage / "metrics" / "metrics.parquet")
    assert list(table["category"]) == [CATEGORY, "Mean"]


def test_a_daemon_with_other_categories_is_named_with_the_remedy(site: Site) -> None:
    other = write_config(
        site.home / "other.yaml", site.dataset, dataset={"categories": [OTHER]}, storage={}
    )
    environment = {**site.environment, "PATCHCORE_CONFIG": str(other)}
    with webserver(site.home, environment, command=("dagster", "dev")):
        ended = launched(site, CATEGORY)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        f"'{CATEGORY}' is not one of the categories that the daemon serves; start the daemon again "
        f"with PATCHCORE_CONFIG={site.config}, and launch again"
    )


def test_without_a_daemon_it_says_so_and_the_wave_survives_the_command(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(site.home)
    monkeypatch.setattr(launched_wave, "_SECONDS_WITHOUT_DAEMON", 0.0)

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launched_wave, "sleep", interrupted)
        assert main(["benchmark", "--launch", CATEGORY]) == 130
    said = capsys.readouterr()
    assert "no daemon takes the runs from the queue; start one" in said.err
    assert "the wave goes on without this command" in said.out
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        [run] = instance.get_runs()
        assert (run.status, category_of_run(run)) == (dg.DagsterRunStatus.QUEUED, CATEGORY)


def test_without_a_history_or_with_an_unknown_category_nothing_is_queued(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["benchmark", "--launch", "unknown"]) == 2
    assert "'unknown' is not one of the configured categories" in capsys.readouterr().err
    monkeypatch.delenv("DAGSTER_HOME")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert main(["benchmark", "--launch"]) == 2
    assert "--launch needs a run history that a daemon serves" in capsys.readouterr().err
