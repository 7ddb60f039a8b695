"""The sensor reports what changed, without runs, and goes on past what cannot be read."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, MEMBER, OTHER
from staleness_kit import CATEGORIES, INPUTS, Benched

from patchcore_assets.graph import define
from patchcore_assets.inputs import watch
from patchcore_assets.inputs.recording import file_hashes
from patchcore_assets.inputs.watch import WATCH_SENSOR, look_at_inputs
from patchcore_ops.config import load_config
from patchcore_ops.runtime import fingerprints
from patchcore_ops.runtime.fingerprints import folder_version


class Watched(Benched):
    """A benchmark whose code location was loaded once, and whose sensor ticks when told to."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(folder, instance)
        self.cursor: str | None = None
        self.load()

    def load(self) -> None:
        """Load the code location, as its reload button does."""
        self.loaded = load_config(self.file)
        self.sensor = define(self.loaded).resolve_sensor_def(WATCH_SENSOR)

    def tick(self) -> tuple[list[tuple[str, str]], str]:
        """Tick as the daemon does; returns what was reported, and the reason that is shown."""
        with dg.build_sensor_context(self.instance, cursor=self.cursor) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        assert data.run_requests == []
        reported = [
            (event.asset_key.to_user_string(), str(event.partition)) for event in data.asset_events
        ]
        return sorted(reported), str(data.skip_message)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Lend a benchmark that is watched and of which all versions are known."""
    monkeypatch.setattr(fingerprints, "CLOCK_GRANULARITY_NS", 20_000_000)
    with dg.DagsterInstance.ephemeral() as instance:
        lent = Watched(tmp_path, instance)
        time.sleep(0.03)
        reported, said = lent.tick()
        assert reported == sorted((name, category) for name in INPUTS for category in CATEGORIES)
        assert said.startswith("changed: ")
        assert lent.tick() == ([], "no changes")
        yield lent


def images_read(watched: Watched, category: str) -> int:
    """Return how many files of a category have to be read to know its version."""
    hashes = file_hashes(watched.instance, watched.loaded, category)
    folder_version(watched.dataset, category, hashes)
    return hashes.hashed


def test_the_sensor_is_off_until_someone_turns_it_on(watched: Watched) -> None:
    assert watched.sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert watched.sensor.minimum_interval_seconds == 30
    assert watched.sensor.description


def test_sensor_and_observation_see_the_same_versions(watched: Watched) -> None:
    seen = {name: watched.versions(name) for name in INPUTS}
    watched.observe()
    assert {name: watched.versions(name) for name in INPUTS} == seen
    for category in CATEGORIES:
        assert seen["images"][category] == folder_version(watched.dataset, category)


def test_a_tick_spends_no_run_and_reads_no_file_twice(watched: Watched) -> None:
    assert watched.instance.get_runs() == []
    assert images_read(watched, OTHER) == 0


def test_a_touched_file_reports_nothing(watched: Watched) -> None:
    for file in (watched.dataset / OTHER).rglob("*.png"):
        os.utime(file, (1, 1))
    watched.configure(runtime={"batch_size": 1, "device": "auto"})
    assert watched.tick() == ([], "no changes")


def test_a_changed_image_reports_its_category_once(watched: Watched) -> None:
    before = watched.versions("images")
    next((watched.dataset / OTHER / "train" / "good").iterdir()).unlink()
    assert watched.tick() == ([("images", OTHER)], f"changed: images of {OTHER}")
    after = watched.versions("images")
    assert after[OTHER] == folder_version(watched.dataset, OTHER) != before[OTHER]
    assert after[CATEGORY] == before[CATEGORY]
    assert watched.tick() == ([], "no changes")


def test_a_changed_override_reports_its_section_and_category(watched: Watched) -> None:
    watched.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    assert watched.tick() == ([("coreset_config", OTHER)], f"changed: coreset_config of {OTHER}")


def test_what_a_run_has_recorded_is_not_reported_again(pip_weights: None, watched: Watched) -> None:
    watched.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    watched.make(*BY_CATEGORY[:3])
    assert watched.tick() == ([], "no changes")
    # An old version that a slow run has recorded is put right by the next tick.
    stale = dg.AssetObservation(
        "coreset_config", partition=OTHER, tags={"dagster/data_version": "of a slow run"}
    )
    watched.instance.report_runless_asset_event(stale)
    assert watched.tick()[0] == [("coreset_config", OTHER)]


def test_a_restarted_daemon_remembers_the_hashes(watched: Watched) -> None:
    again = define(watched.loaded).resolve_sensor_def(WATCH_SENSOR)
    with dg.build_sensor_context(watched.instance) as context:
        assert again.evaluate_tick(context).asset_events == []
    assert images_read(watched, CATEGORY) == 0


def test_a_broken_configuration_is_said_and_nothing_reported(watched: Watched) -> None:
    watched.file.write_text("coreset: {percentage: 7", encoding="utf-8")
    reported, said = watched.tick()
    assert reported == []
    assert said.startswith(f"no changes; nothing was looked at, for {watched.file}: not valid YAML")
    assert "\n" not in said
    watched.file.unlink()
    assert "no such configuration file" in watched.tick()[1]
    watched.configure()
    assert watched.tick() == ([], "no changes")


def test_a_missing_folder_is_said_and_the_others_go_on(watched: Watched, tmp_path: Path) -> None:
    before = watched.versions("images")
    (watched.dataset / CATEGORY).rename(tmp_path / "unmounted")
    next((watched.dataset / OTHER / "train" / "good").iterdir()).unlink()
    reported, said = watched.tick()
    assert reported == [("images", OTHER)], "a folder that is gone for a moment is no new version"
    assert f"no folder for {CATEGORY} below {watched.dataset}" in said
    assert watched.versions("images")[CATEGORY] == before[CATEGORY]
    (tmp_path / "unmounted").rename(watched.dataset / CATEGORY)
    assert watched.tick() == ([], "no changes")


def test_a_folder_that_fails_is_said_and_the_others_go_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def fail(folder: Path) -> object:
        if f"/{CATEGORY}/train" in str(folder):
            raise OSError(5, "Input/output error", str(folder))
        return scandir(folder)

    monkeypatch.setattr(fingerprints.os, "scandir", fail)
    watched.configure(scoring={"smoothing_sigma": 2.0})
    reported, said = watched.tick()
    assert reported == [("scoring_config", category) for category in CATEGORIES]
    assert f"images of {CATEGORY} was left as it was: {watched.dataset / CATEGORY}/train" in said
    assert "Input/output error" in said


@pytest.mark.parametrize("discover", [True, False])
def test_new_and_vanished_categories_ask_for_a_reload(watched: Watched, discover: bool) -> None:
    shutil.copytree(watched.dataset / OTHER, watched.dataset / "fabric_c")
    shutil.rmtree(watched.dataset / CATEGORY)
    watched.configure(dataset={"categories": "discover" if discover else [OTHER, "fabric_c"]})
    reported, said = watched.tick()
    assert reported == [], "only what the code location has as a partition can be reported"
    assert "new categories: fabric_c; to see them, reload the code location" in said
    assert f"no longer there: {CATEGORY}; to drop them, reload the code location" in said
    watched.load()
    reported, said = watched.tick()
    assert reported == sorted((name, "fabric_c") for name in INPUTS)
    assert "reload" not in said


def test_much_to_read_is_read_over_several_ticks(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (watched.dataset / OTHER).rglob("*.png"):
        os.utime(file, (1, 1))
    time.sleep(0.03)
    monkeypatch.setattr(watch, "SECONDS_OF_READING", 0.0)
    (watched.dataset / OTHER / "notes.txt").write_text("new", encoding="utf-8")
    time.sleep(0.03)
    said = []
    for _ in range(100):
        reported, sentence = watched.tick()
        said.append(sentence)
        if reported:
            break
    assert reported == [("images", OTHER)]
    assert len(said) > 2
    assert set(said[:-1]) == {
        f"no changes; still reading {OTHER}; the next tick goes on from there"
    }
    assert watched.versions("images")[OTHER] == folder_version(watched.dataset, OTHER)


def test_a_look_that_is_out_of_time_names_where_the_next_begins(watched: Watched) -> None:
    for category in CATEGORIES:
        next((watched.dataset / category / "train" / "good").iterdir()).unlink()
    watched.configure(coreset={"seed": 1})
    found = look_at_inputs(watched.instance, watched.loaded, until=0.0, first=OTHER)
    seen = {(event.asset_key.to_user_string(), event.partition) for event in found.changed}
    settings = {("coreset_config", category) for category in CATEGORIES}
    assert seen == {*settings, ("images", OTHER)}, "all settings, and one folder"
    assert found.next == CATEGORY


def test_a_weights_file_of_many_categories_is_read_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = watched.file.with_name("weights.safetensors")
    weights.write_bytes(b"any")
    read: list[Path] = []
    file_hash = fingerprints.file_hash
    monkeypatch.setattr(
        fingerprints, "file_hash", lambda file: read.append(file) or file_hash(file)
    )
    watched.configure(embedding={"members": [{**MEMBER, "weights": str(weights)}]})
    assert watched.tick()[0] == [("embedding_config", category) for category in CATEGORIES]
    assert read == [weights]


def test_many_changes_are_reported_over_several_ticks_and_folders_first(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_REPORTED", 2)
    watched.configure(coreset={"seed": 1})
    next((watched.dataset / OTHER / "train" / "good").iterdir()).unlink()
    reported, said = watched.tick()
    assert len(reported) == 2
    assert ("images", OTHER) in reported
    assert said.endswith("; 1 more changes are reported by the next ticks")
    more, _ = watched.tick()
    settings = [("coreset_config", category) for category in CATEGORIES]
    assert sorted(reported + more) == [*settings, ("images", OTHER)]
    assert watched.tick() == ([], "no changes")


def test_a_look_reports_nothing_by_itself(watched: Watched) -> None:
    watched.configure(coreset={"seed": 1})
    before = watched.observations()
    assert len(look_at_inputs(watched.instance, watched.loaded).changed) == 2
    assert watched.observations() == before
