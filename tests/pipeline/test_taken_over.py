"""What would come out as it did before is taken over; the bytes are those of computing it."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image
from pipeline_kit import (
    CATEGORY,
    MEMBER,
    SIDE,
    Metadata,
    contents,
    execute,
    failures,
    write_config,
)
from store_kit import flip_a_bit

from demo.tiny import build_tiny_dataset
from patchcore_assets.step.run_figures import figures_of
from patchcore_ops.checks import bank
from patchcore_ops.stages import memory_bank

BANK, INDEX, PREDICTIONS, CALIBRATION = CHAIN = (
    "memory_bank",
    "faiss_index",
    "test_predictions",
    "score_calibration",
)
ASSETS = ("image_manifest", "raw_embeddings", *CHAIN)
METRICS = "category_metrics"
OF_COMPUTING = {BANK: {"picks_per_second"}, PREDICTIONS: {"images_per_second", "proven_share"}}
WITH_UNITS = {
    "embedding": {"members": [MEMBER, {**MEMBER, "layers": ["blocks.2"]}]},
    "scoring": {"ensemble": "leave_one_out"},
}


class Place:
    """A dataset and its storage; `run` makes the assets and names those that were computed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history: dg.DagsterInstance | None = None
        self.said = ""

    def run(self, storage: str = "storage", /, **sections: Any) -> set[str]:
        made = self.make(*ASSETS, storage=storage, **sections)
        return {asset for asset in CHAIN if "taken_over" not in made[asset]}

    def make(self, *assets: str, storage: str = "storage", **sections: Any) -> dict[str, Metadata]:
        result = self.execute(*assets, storage=storage, **sections)
        assert result.success, failures(result)
        made = {asset: result.asset_materializations_for_node(asset)[0] for asset in assets}
        return {asset: event.metadata for asset, event in made.items()}

    def execute(
        self, *assets: str, storage: str = "storage", **sections: Any
    ) -> dg.ExecuteInProcessResult:
        config = write_config(
            self.folder / f"{storage}.yaml",
            self.folder / "dataset",
            **sections,
            storage={"root": str(self.folder / storage)},
        )
        with dg.DagsterInstance.ephemeral() as own:
            instance = self.history or own
            result = execute(config, *assets, instance=instance)
            self.said = "\n".join(one.user_message for one in instance.all_logs(result.run_id))
        return result

    def of(self, asset: str, storage: str = "storage") -> Path:
        return self.folder / storage / asset / CATEGORY

    def made(self, storage: str = "storage") -> dict[str, dict[str, bytes]]:
        found = {asset: contents(self.of(asset, storage)) for asset in CHAIN}
        for files in found.values():
            del files["artefact.json"]
        return found

    def sidecar(self, asset: str, storage: str = "storage") -> dict[str, Any]:
        content: dict[str, Any] = json.loads(
            (self.of(asset, storage) / "artefact.json").read_text()
        )
        return content

    def provenance(self, asset: str, key: str) -> str | None:
        found: str | None = self.sidecar(asset)["provenance"].get(key)
        return found

    def assert_is_that_of_computing(self, **sections: Any) -> None:
        assert self.run("anew", **sections) == {*CHAIN}
        assert self.made() == self.made("anew")
        for asset in CHAIN:
            versions = [self.sidecar(asset, name)["data_version"] for name in ("storage", "anew")]
            assert versions[0] == versions[1], asset


@pytest.fixture(scope="module")
def benchmarked(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("benchmarked"))
    build_tiny_dataset(place.folder / "dataset", categories=(CATEGORY,), size=SIDE)
    assert place.run() == {*CHAIN}
    return place.folder


@pytest.fixture
def place(benchmarked: Path, tmp_path: Path) -> Place:
    shutil.copytree(benchmarked, tmp_path / "copy", symlinks=True)
    return Place(tmp_path / "copy")


def test_nothing_is_computed_twice_and_every_byte_is_that_of_computing(place: Place) -> None:
    made = {asset: place.provenance(asset, "made") for asset in CHAIN}
    for _ in range(2):
        assert place.run() == set()
        assert {asset: place.provenance(asset, "computed") for asset in CHAIN} == made
    assert place.said.count(f"taken over as computed on {made[BANK]}, for all that") == 1
    assert place.said.count("taken over as computed on") == len(CHAIN)
    place.assert_is_that_of_computing()


@pytest.mark.parametrize(
    ("sections", "computed"),
    [
        ({"runtime": {"recompute": True}}, {*CHAIN}),
        ({"runtime": {"faiss_num_workers": 2}}, {*CHAIN}),
        ({"coreset": {"percentage": 0.2}}, {*CHAIN}),
        ({"index": {"factory": "HNSW8"}}, {INDEX, PREDICTIONS, CALIBRATION}),
        ({"scoring": {"smoothing_sigma": 2.0}}, {PREDICTIONS, CALIBRATION}),
        ({"calibration": {"false_positive_rate": 0.2}}, {CALIBRATION}),
        ({"metrics": {"mask_threshold": 0.4}}, set()),
        (WITH_UNITS, {*CHAIN}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_another_setting_computes_what_depends_on_it(
    place: Place, sections: dict[str, Any], computed: set[str]
) -> None:
    assert place.run(**sections) == computed
    place.assert_is_that_of_computing(**sections)
    again = {*CHAIN} if "recompute" in sections.get("runtime", {}) else set()
    assert place.run(**sections) == again
    assert place.made() == place.made("anew")


def test_what_was_recomputed_is_taken_over_afterwards(place: Place) -> None:
    place.run(runtime={"recompute": True})
    assert place.provenance(BANK, "computed") is None
    assert place.run() == set()


def _add_image(place: Place) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(place.folder / "dataset" / CATEGORY / "train/good/new.png")


def _repaint_mask(place: Place) -> None:
    mask = min((place.folder / "dataset" / CATEGORY / "ground_truth").rglob("*.png"))
    Image.new("L", (SIDE, SIDE), 255).save(mask)


@pytest.mark.parametrize("edit", [_add_image, _repaint_mask])
def test_an_edited_data_set_computes_everything(
    place: Place, edit: Callable[[Place], None]
) -> None:
    edit(place)
    assert place.run() == {*CHAIN}
    place.assert_is_that_of_computing()


def test_a_calibration_without_the_masks_is_computed_again(place: Place) -> None:
    mask = min((place.folder / "dataset" / CATEGORY / "ground_truth").rglob("*.png"))
    content = mask.read_bytes()
    mask.unlink()
    shown = place.make(CALIBRATION, runtime={"recompute": True})[CALIBRATION]
    assert shown["segmentation_f1"].value is None
    mask.write_bytes(content)
    assert place.run() == {CALIBRATION}
    place.assert_is_that_of_computing()
    assert place.run() == set()


@pytest.mark.parametrize(
    ("name", "value"), [("source_hash", "edited"), ("available_processors", 7), ("_cpu", "other")]
)
def test_other_code_threads_or_processors_compute_everything(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(f"patchcore_ops.stages.provenance.{name}", lambda: value)
    assert place.run() == {*CHAIN}
    assert place.run() == set()


def test_a_damaged_result_is_computed_again_and_that_is_said(place: Place) -> None:
    whole = place.made()
    flip_a_bit(place.of(BANK) / "0" / "features.npy")
    assert place.run() == {BANK}
    assert "the version before is not taken into account: 0/features.npy" in place.said
    assert place.made() == whole


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_damage_while_it_is_taken_over_does_not_live_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    before = place.of(BANK).resolve()
    read_banks = bank.read_banks

    def damage_then_read(*arguments: Any) -> list[bank.MemberBank]:
        damage(before / "0" / "features.npy")
        return read_banks(*arguments)

    monkeypatch.setattr(bank, "read_banks", damage_then_read)
    [said] = failures(place.execute(BANK)).values()
    assert said.startswith("0/features.npy (")
    assert said.endswith(f"--select {BANK} --partition {CATEGORY}")
    assert place.of(BANK).resolve() == before
    monkeypatch.undo()
    assert place.run() == {BANK}
    place.assert_is_that_of_computing()


def test_figures_of_computing_are_shown_where_something_was_computed(
    place: Place, instance: dg.DagsterInstance
) -> None:
    place.history = instance
    timed = {f"seconds/{asset}" for asset in CHAIN[:-1]}
    for recompute in (True, False):
        made = place.make(*ASSETS, METRICS, runtime={"recompute": recompute})
        for asset, figures in OF_COMPUTING.items():
            assert made[asset].keys() & figures == (figures if recompute else set())
        lineage = place.sidecar(METRICS)["provenance"]
        tracked = figures_of(instance, CATEGORY, lineage, {BANK: {"picks": "bank_rows"}})
        assert tracked.keys() & timed == (timed if recompute else set())
        assert tracked["seconds/raw_embeddings"] > 0
        assert tracked["bank_rows"] == made[BANK]["picks"].value


def test_a_machine_that_takes_over_is_not_said_to_have_computed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed_on = platform.node()
    for name in ("host", "_platform"):
        monkeypatch.setattr(f"patchcore_ops.stages.provenance.{name}", lambda: "another")
    for _ in range(2):
        assert place.run() == set()
        assert {place.provenance(asset, "host") for asset in CHAIN} == {computed_on}
        assert "another" not in {place.provenance(asset, "platform") for asset in CHAIN}
    assert place.provenance("raw_embeddings", "host") == "another"


def test_what_was_computed_again_is_not_said_to_be_taken_over(place: Place) -> None:
    place.run()
    place.make(BANK, runtime={"recompute": True})
    place.make(CALIBRATION)
    assert place.provenance(INDEX, "memory_bank.computed")
    assert place.provenance(CALIBRATION, "memory_bank.made") == place.provenance(BANK, "made")
    assert place.provenance(CALIBRATION, "memory_bank.computed") is None


def _fail_at_the_second_shard(
    place: Place, monkeypatch: pytest.MonkeyPatch, **sections: Any
) -> Path:
    """Fail while a bank is selected, and return where its first shard is kept."""
    select_shard, made = memory_bank.select_shard, []

    def fail_at_the_second(*arguments: Any) -> None:
        if made:
            raise OSError("the machine fails")
        made.append(arguments)
        select_shard(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(memory_bank, "select_shard", fail_at_the_second)
        assert not place.execute(BANK, **sections).success
    kept = place.folder / "storage" / "memory_bank_shards"
    assert len(list(kept.iterdir())) == 1
    return kept


def test_shards_of_a_run_that_failed_go_where_a_bank_is_taken_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards = {"coreset": {"shards": 2}}
    place.run(**in_shards)
    kept = _fail_at_the_second_shard(place, monkeypatch, coreset={"shards": 2, "percentage": 0.2})
    assert place.run(**in_shards) == set()
    assert not list(kept.iterdir())


def test_recomputing_uses_no_shards_of_a_run_that_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards: dict[str, Any] = {"coreset": {"shards": 2}}
    kept = _fail_at_the_second_shard(place, monkeypatch, **in_shards)
    place.make(BANK, **in_shards, runtime={"recompute": True})
    assert "shards were made before" not in place.said
    assert not list(kept.iterdir())
    kept = _fail_at_the_second_shard(place, monkeypatch, coreset={"shards": 2, "percentage": 0.2})
    place.make(BANK, coreset={"shards": 2, "percentage": 0.2})
    assert "1 of 2 shards were made before" in place.said


def test_pictures_are_drawn_anew_into_files_of_their_own(place: Place) -> None:
    runtime = {"save_segmentation_images": True}
    assert place.run(runtime=runtime) == {*CHAIN}
    before = place.of(PREDICTIONS).resolve()
    kept = {file: file.stat().st_ino for file in before.rglob("*.jpg")}
    assert kept
    assert place.run(runtime=runtime) == set()
    after = place.of(PREDICTIONS).resolve()
    drawn = {after / file.relative_to(before): inode for file, inode in kept.items()}
    assert all(file.stat().st_ino != inode for file, inode in drawn.items())
