"""A run started by hand records the versions of the inputs that it used, observed or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from PIL import Image
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, execute
from staleness_kit import Benched

from patchcore_assets.inputs.recording import known_versions
from patchcore_ops.dataset import manifest
from patchcore_ops.runtime.fingerprints import file_hash, folder_version
from patchcore_ops.stages import image_manifest

INPUT_OF = {
    "image_manifest": "images",
    "raw_embeddings": "embedding_config",
    "memory_bank": "coreset_config",
    "faiss_index": "index_config",
    "test_predictions": "scoring_config",
    "category_metrics": "metrics_config",
    "score_calibration": "calibration_config",
}


@pytest.fixture
def benched(pip_weights: None, tmp_path: Path) -> Iterator[Benched]:
    """Lend a benchmark of which Dagster knows nothing yet."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Benched(tmp_path, instance)


def invert(file: Path) -> None:
    """Change an image in place, without changing its size."""
    with Image.open(file) as image:
        inverted = image.point(lambda value: 255 - value)
    inverted.save(file)


def train_image(benched: Benched, category: str = OTHER) -> Path:
    return next((benched.dataset / category / "train" / "good").iterdir())


def test_a_first_run_by_hand_is_fresh_when_its_inputs_are_observed(benched: Benched) -> None:
    benched.make(*BY_CATEGORY)
    before = {asset: benched.versions(name) for asset, name in INPUT_OF.items()}
    for asset, name in INPUT_OF.items():
        assert before[asset] == {OTHER: benched.used(asset, name)}, asset
    assert benched.stale() == {}
    benched.observe()
    assert benched.stale() == {}
    for asset, name in INPUT_OF.items():
        assert benched.versions(name)[OTHER] == before[asset][OTHER]
        assert CATEGORY in benched.versions(name)


@pytest.mark.parametrize("change", ["image", "coreset"])
def test_what_changed_after_an_unobserved_run_makes_it_stale(benched: Benched, change: str) -> None:
    benched.make(*BY_CATEGORY)
    if change == "image":
        invert(train_image(benched))
    else:
        benched.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    benched.observe()
    first = {"image": "image_manifest", "coreset": "memory_bank"}[change]
    assert benched.stale() == {first: {OTHER}}


def test_two_runs_by_hand_with_an_edit_in_between(benched: Benched) -> None:
    benched.make("image_manifest", "raw_embeddings", "memory_bank", "faiss_index")
    first = benched.used("memory_bank", "coreset_config")
    benched.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    benched.make("memory_bank")
    second = benched.used("memory_bank", "coreset_config")
    assert second != first
    assert benched.versions("coreset_config") == {OTHER: second}
    assert benched.stale() == {"faiss_index": {OTHER}}
    benched.make("faiss_index")
    benched.observe()
    assert benched.stale() == {}, "nothing of what was made is behind"
    benched.configure()
    benched.observe()
    assert benched.versions("coreset_config")[OTHER] == first
    assert benched.stale() == {"memory_bank": {OTHER}}, "back to what was, but not yet made again"


def test_a_run_after_an_outdated_observation_records_what_it_used(benched: Benched) -> None:
    benched.observe()
    observed = benched.versions("images")
    invert(train_image(benched))
    benched.make("image_manifest")
    assert benched.used("image_manifest", "images") != observed[OTHER]
    assert benched.used("image_manifest", "images") == folder_version(benched.dataset, OTHER)
    assert benched.versions("images")[CATEGORY] == observed[CATEGORY]
    assert benched.stale() == {}
    benched.observe()
    assert benched.stale() == {}


def test_a_folder_that_changes_while_it_is_read_is_stale_afterwards(
    benched: Benched, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = train_image(benched)
    before = folder_version(benched.dataset, OTHER)
    describe = manifest._describe

    def describe_late(file: Path, *arguments: object) -> object:
        if file == image:
            invert(image)
        return describe(file, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(manifest, "_describe", describe_late)
    benched.make("image_manifest")
    assert benched.used("image_manifest", "images") == before
    table = pd.read_parquet(benched.storage / "image_manifest" / OTHER / "manifest.parquet")
    recorded = table.set_index("path")["fingerprint"]
    assert recorded[image.relative_to(benched.dataset).as_posix()] != file_hash(image)
    benched.observe()
    assert benched.stale() == {"image_manifest": {OTHER}}


def test_a_change_reported_during_a_step_is_not_taken_for_used(
    benched: Benched, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = manifest.scan_category

    def scan_late(*arguments: object) -> object:
        found = scan(*arguments)  # type: ignore[arg-type]
        invert(train_image(benched))
        benched.observe()
        return found

    monkeypatch.setattr(image_manifest, "scan_category", scan_late)
    benched.make("image_manifest")
    assert benched.stale() == {"image_manifest": {OTHER}}


def test_a_failed_step_leaves_what_was_there_stale(benched: Benched) -> None:
    benched.make("image_manifest")
    train_image(benched).write_bytes(b"not an image")
    result = execute(benched.file, "image_manifest", partition=OTHER, instance=benched.instance)
    assert not result.success
    assert benched.stale() == {"image_manifest": {OTHER}}


def test_a_folder_that_is_not_there_is_no_version(benched: Benched, tmp_path: Path) -> None:
    benched.make("image_manifest")
    before = benched.versions("images")
    (benched.dataset / OTHER).rename(tmp_path / "elsewhere")
    result = execute(benched.file, "image_manifest", partition=OTHER, instance=benched.instance)
    assert not result.success
    assert benched.versions("images") == before
    assert benched.stale() == {}


def test_only_the_inputs_of_the_steps_that_ran_are_recorded(benched: Benched) -> None:
    benched.make("image_manifest")
    assert set(benched.versions("images")) == {OTHER}
    for name in set(INPUT_OF.values()) - {"images"}:
        assert benched.versions(name) == {}, name


def test_known_versions_are_the_latest_of_each_category_however_long_ago() -> None:
    key = dg.AssetKey("images")
    with dg.DagsterInstance.ephemeral() as instance:
        reports = [("a", "old"), ("b", "1"), ("a", "only")]
        reports += [("b", str(number)) for number in range(2, 30)]
        for category, version in reports:
            tags = {"dagster/data_version": version}
            instance.report_runless_asset_event(
                dg.AssetObservation(key, partition=category, tags=tags)
            )
        known = known_versions(instance, key)
        assert known == {"a": "only", "b": "29"}
