"""An image is embedded once: later versions take its rows over, byte for byte as a full run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image
from pipeline_kit import (
    CATEGORY,
    DIMENSION,
    MEMBER,
    SIDE,
    TEST_IMAGES,
    TRAIN_IMAGES,
    contents,
    execute,
    failures,
    write_config,
)

from demo.tiny import build_tiny_dataset

IMAGES = TRAIN_IMAGES + TEST_IMAGES
OTHER_MEMBER = {**MEMBER, "layers": ["blocks.2"]}
ENSEMBLE = {"members": [MEMBER, OTHER_MEMBER]}


class Place:
    """A dataset and its storage; `run` embeds and returns metadata and log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good = folder / "dataset" / CATEGORY / "train" / "good"
        self.test = folder / "dataset" / CATEGORY / "test"

    def run(self, storage: str = "storage", /, **sections: Any) -> tuple[Mapping[str, Any], str]:
        config = write_config(
            self.folder / f"{storage}.yaml",
            self.folder / "dataset",
            **{
                "embedding": ENSEMBLE,
                "runtime": {"engine": "openvino"},
                "storage": {"root": str(self.folder / storage)},
                **sections,
            },
        )
        with dg.DagsterInstance.ephemeral() as instance:
            result = execute(config, "image_manifest", "raw_embeddings", instance=instance)
            assert result.success, failures(result)
            said = "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))
        [event] = result.asset_materializations_for_node("raw_embeddings")
        return {key: entry.value for key, entry in event.metadata.items()}, said

    def made(self, storage: str = "storage") -> dict[str, bytes]:
        found = contents(self.folder / storage / "raw_embeddings" / CATEGORY)
        del found["artefact.json"]
        return found

    def made_anew(self, **sections: Any) -> dict[str, bytes]:
        """Embed everything into a storage that has nothing but the exported networks."""
        for part in ("embedding_network", ".versions/embedding_network"):
            shutil.copytree(
                self.folder / "storage" / part, self.folder / "anew" / part, symlinks=True
            )
        metadata, _ = self.run("anew", **sections)
        assert metadata["images_taken_over"] == 0
        return self.made("anew")


@pytest.fixture(scope="module")
def embedded(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("embedded"))
    build_tiny_dataset(place.folder / "dataset", categories=(CATEGORY,), size=SIDE)
    metadata, _ = place.run()
    assert (metadata["images_embedded"], metadata["images_taken_over"]) == (IMAGES, 0)
    return place.folder


@pytest.fixture
def place(embedded: Path, tmp_path: Path) -> Place:
    shutil.copytree(embedded, tmp_path / "copy", symlinks=True)
    return Place(tmp_path / "copy")


def draw(file: Path, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)


def first_of(folder: Path) -> Path:
    return min(folder.iterdir())


def add(place: Place) -> None:
    draw(place.good / "004_new.png")


def remove(place: Place) -> None:
    first_of(place.good).unlink()


def rename(place: Place) -> None:
    first_of(place.good).rename(place.good / "zz.png")


def change(place: Place) -> None:
    draw(first_of(place.test / "good"), seed=1)


def move(place: Place) -> None:
    first_of(place.test / "good").rename(place.good / "moved.png")


def all_at_once(place: Place) -> None:
    for edit in (add, remove, rename, move, change):
        edit(place)
    draw(place.good / "zzz_new.png", seed=2)


# Where a train image is gone, the test images keep their file.
@pytest.mark.parametrize(("edit", "new"), [(remove, 0), (all_at_once, 3)])
def test_only_new_images_are_embedded_and_every_byte_is_that_of_a_full_run(
    place: Place, edit: Callable[[Place], None], new: int
) -> None:
    before = place.made()
    edit(place)
    metadata, _ = place.run()
    assert metadata["images_embedded"] == new
    assert metadata["images_embedded"] + metadata["images_taken_over"] == metadata["images"]
    # What computes nothing has no pace.
    assert ("images_per_second" in metadata) == (new > 0)
    after = place.made()
    assert after != before
    assert after == place.made_anew()


def test_float16_rows_are_taken_over_as_they_are(place: Place) -> None:
    half = {"embedding": {**ENSEMBLE, "storage": "float16"}}
    assert place.run(**half)[0]["images_embedded"] == IMAGES
    add(place)
    assert place.run(**half)[0]["images_embedded"] == 1
    assert np.load(
        place.folder / "storage" / "raw_embeddings" / CATEGORY / "1" / "embeddings.npy"
    ).shape == ((TRAIN_IMAGES + 1) * 64, DIMENSION)
    assert place.made() == place.made_anew(**half)


@pytest.mark.parametrize(
    "sections",
    [
        {"dataset": {"resize": SIDE + 8}},
        {"embedding": {"members": [MEMBER]}},
        {"runtime": {"engine": "torch"}},
        {"runtime": {"engine": "openvino", "images_per_shard": 4}},
    ],
    ids=["resize", "member", "torch", "shards"],
)
def test_other_settings_embed_everything_again(place: Place, sections: dict[str, Any]) -> None:
    add(place)
    metadata, _ = place.run(**sections)
    assert (metadata["images_embedded"], metadata["images_taken_over"]) == (IMAGES + 1, 0)


def test_what_another_processor_has_made_is_embedded_again(place: Place) -> None:
    sidecar = place.folder / "storage" / "raw_embeddings" / CATEGORY / "artefact.json"
    content = json.loads(sidecar.read_text())
    content["provenance"]["instructions"] = "avx2"
    sidecar.write_text(json.dumps(content))
    assert place.run()[0]["images_embedded"] == IMAGES


def test_a_damaged_version_is_not_used_and_that_is_said(place: Place) -> None:
    whole = place.made()
    rows = place.folder / "storage" / "raw_embeddings" / CATEGORY / "0" / "embeddings.npy"
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    metadata, said = place.run()
    assert metadata["images_embedded"] == IMAGES
    assert "the version before is not taken into account: 0/embeddings.npy" in said
    assert place.made() == whole


def test_without_new_images_no_network_is_opened(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = place.made()
    monkeypatch.delattr("patchcore_ops.embedding.ensemble.open_networks")
    metadata, _ = place.run()
    assert metadata["images_taken_over"] == IMAGES
    assert place.made() == whole


def test_everything_is_embedded_again_where_openvino_fails_by_now(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr("patchcore_ops.embedding.openvino_engine.OpenVinoEngine.__init__", fail)
    add(place)
    metadata, said = place.run()
    assert metadata["images_embedded"] == IMAGES + 1
    assert metadata["engine_0"].startswith("torch ")
    assert "OpenVINO cannot run efficientnet_lite0 on this processor" in said
