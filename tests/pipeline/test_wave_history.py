"""The history of waves: nothing is lost where several runs make the table at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, Configure, Site, complete, make_site

from patchcore_assets.automation.wave_history import WAVES, keep_wave
from patchcore_assets.storage import ArtefactStore
from patchcore_ops.metrics import history as waves
from patchcore_ops.metrics.category import METRICS, summary_table


class Runs:
    """Runs that make the table, each in a folder of its own."""

    def __init__(self, store: ArtefactStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.said: list[str] = []

    def make(self, wave: str, figure: float, earlier: Path | None = None) -> Path:
        """Make the table over a version before it; return where its history is."""
        output = self.folder / wave
        output.mkdir(parents=True)
        table = summary_table({"bottle": dict.fromkeys(METRICS, figure)})
        run = f"run of {wave}"
        held = keep_wave(self.store, earlier, table, wave, run, output, self.said.append)
        assert held == len(history(output))
        return output


@pytest.fixture
def runs(store: ArtefactStore, tmp_path: Path) -> Runs:
    return Runs(store, tmp_path / "runs")


def history(folder: Path) -> list[tuple[str, float]]:
    """Return the waves of a history and their figure."""
    kept = pd.read_parquet(folder / "history.parquet")
    return list(zip(kept["wave"], kept["aupro"], strict=True))


def test_runs_that_do_not_see_each_other_lose_nothing(runs: Runs) -> None:
    before = runs.make("before", 0.1)
    first = runs.make("first", 0.2, before)
    second = runs.make("second", 0.3, before)
    assert history(first) == [("before", 0.1), ("first", 0.2)]
    assert history(second) == [("before", 0.1), ("first", 0.2), ("second", 0.3)]
    # As if the first had been switched after the second.
    after = runs.make("after", 0.4, first)
    expected = [("before", 0.1), ("first", 0.2), ("second", 0.3), ("after", 0.4)]
    assert history(after) == expected
    assert history(runs.make("without a version before", 0.5))[:4] == expected


def test_a_history_of_before_there_were_blocks_goes_on(runs: Runs) -> None:
    old = runs.make("old", 0.1)
    [block] = runs.store.categories(WAVES)
    runs.store.remove(WAVES, block)
    assert runs.store.categories(WAVES) == []
    new = runs.make("new", 0.2, old)
    assert history(new) == [("old", 0.1), ("new", 0.2)]
    assert history(runs.make("newer", 0.3, new)) == [("old", 0.1), ("new", 0.2), ("newer", 0.3)]


def test_a_wave_that_is_measured_again_has_one_block(runs: Runs, tmp_path: Path) -> None:
    first = runs.make("again", 0.1)
    other = runs.make("other", 0.2, first)
    runs.folder = tmp_path / "anew"
    assert history(runs.make("again", 0.3, other)) == [("other", 0.2), ("again", 0.3)]


def test_only_the_latest_waves_are_kept(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "KEPT_WAVES", 3)
    monkeypatch.setattr(waves.add_up, "__defaults__", (3,))
    made = None
    for number in range(5):
        made = runs.make(f"w{number}", number / 10, made)
    assert made is not None
    assert history(made) == [("w2", 0.2), ("w3", 0.3), ("w4", 0.4)]
    kept = runs.store.categories(WAVES)
    assert [name.partition("Z-")[2] for name in kept] == [f"run of w{one}" for one in (2, 3, 4)]


def test_a_block_that_is_damaged_is_named_and_left_out(runs: Runs) -> None:
    first = runs.make("first", 0.1)
    runs.make("damaged", 0.2)
    damaged = runs.store.categories(WAVES)[1]
    root = Path(runs.store.root.removeprefix("local://"))
    for copy in root.rglob(f"*/{damaged}/**/wave.parquet"):
        copy.write_bytes(b"something else")
    for cached in root.parent.glob("cache/**/*"):
        if cached.is_file():
            cached.unlink()
    assert history(runs.make("third", 0.3, first)) == [("first", 0.1), ("third", 0.3)]
    [sentence] = runs.said
    assert sentence.startswith(f"{runs.store.location(WAVES, damaged)} is not what was written")


def metrics(site: Site) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("dagster")),
            *("asset", "materialize", "-m", "patchcore_assets", "--select", "metrics"),
        ],
        env={**site.environment, "OMP_NUM_THREADS": "1"},
        cwd=site.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.usefixtures("pip_weights")
def test_three_tables_at_once_are_three_waves(
    configure: Configure, tiny_dataset: Path, tmp_path: Path
) -> None:
    site = make_site(tmp_path / "site", tiny_dataset)
    complete(configure(storage={"root": str(site.storage)}), *BY_CATEGORY)
    # Dagster cannot make its database in three processes at once.
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        assert not instance.get_runs()
    for together in (3, 1):
        processes = [metrics(site) for _ in range(together)]
        for process in processes:
            said, _ = process.communicate(timeout=240)
            assert process.returncode == 0, said
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        runs = {run.run_id for run in instance.get_runs()}
    assert len(runs) == 4
    kept = pd.read_parquet(site.storage / "metrics" / "history.parquet")
    assert set(kept["run_id"]) == runs
    assert kept["wave"].nunique() == len(kept) == 4
    moments, ids = zip(*kept["wave"].str.split(), strict=True)
    assert list(ids) == [run[:8] for run in kept["run_id"]], "each is a wave by itself"
    assert all(datetime.fromisoformat(moment).utcoffset() == timedelta() for moment in moments)
    assert set(kept["category"]) == {CATEGORY}
    # Those made at once stand as their tables were made, perhaps some milliseconds out of order.
    finished = kept["finished"].tolist()
    assert finished[-1] == max(finished)
    assert len(list((site.storage / WAVES).iterdir())) == 4
