"""Backbones and settings that cannot be used, and what is said of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patchcore_assets.inputs.versions import EMBEDDING_CONFIG, INPUTS
from patchcore_ops.backbones import load_backbone
from patchcore_ops.config import load_config
from patchcore_ops.config.sections import CategoryConfig, IndexSection, RuntimeSection
from patchcore_ops.embedding.ensemble import Networks, open_networks
from patchcore_ops.runtime.errors import ConfigError, UserError, WeightsError
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.scoring.index_building import build_index, foresee_index
from patchcore_ops.stages.early_refusals import foresee

BACKBONE = "test_resnet"
State = dict[str, torch.Tensor]


CONV = "conv1.0.weight"

NAMES = [
    (
        "wide_resnet50",
        "'wide_resnet50' is not a backbone that timm knows; did you mean",
        "resnet50",
    ),
    ("efficientnet_lite", "'efficientnet_lite' is not a backbone", "efficientnet_lite0"),
    ("zzzzzzzz", "'zzzzzzzz' is not a backbone that timm knows", "timm.list_models() lists them"),
    (
        "resnet18.nonsense",
        "'resnet18.nonsense': timm has no weights 'nonsense' of 'resnet18'",
        "resnet18.tv_in1k",
    ),
    ("../resnet18", "'../resnet18' is not a backbone", ""),
    ("hf-hub:somebody/model", "'hf-hub:somebody/model' is not a backbone", ""),
]


@pytest.mark.parametrize(("name", "begins", "holds"), NAMES)
def test_unknown_backbones(name: str, begins: str, holds: str) -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone(name)
    message = str(caught.value)
    assert message.startswith(begins)
    assert holds in message
    assert "\n" not in message


def settings(**sections: Any) -> CategoryConfig:
    return CategoryConfig.model_validate({"dataset": {"resize": 32, "imagesize": 32}, **sections})


def member(file: Path, **keys: Any) -> dict[str, Any]:
    return {"backbone": BACKBONE, "layers": ["layer2"], "weights": str(file), **keys}


def networks(*members: dict[str, Any], **sections: Any) -> Networks:
    embedding = {
        "members": list(members),
        "pretrain_embed_dimension": 8,
        "target_embed_dimension": 8,
    }
    return open_networks(settings(embedding=embedding, **sections), RuntimeSection(device="cpu"))


def test_what_is_wrong_with_several_members_is_said_together(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        networks(
            member(tmp_path / "absent.pth"),
            member(tmp_path / "w.pth"),
            member(tmp_path / "w.pth", backbone="resnet_18"),
        )
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"embedding.members.0: {tmp_path / 'absent.pth'}: no such weights file")
    assert second.startswith("embedding.members.2: 'resnet_18' is not a backbone")


def test_nan_from_the_network_names_member_layer_and_image(tmp_path: Path, state: State) -> None:
    # Finite weights, of which a white image makes more than a float32 holds, and others do not.
    stem = {name: torch.ones_like(state[name]) for name in (CONV, "conv1.3.weight")}
    last = torch.full_like(state["conv1.6.weight"], 8.5e32)
    torch.save({**state, **stem, "conv1.6.weight": last}, tmp_path / "w.pth")
    network = networks(member(tmp_path / "w.pth", layers=["conv1"]))
    images = np.full((3, 32, 32, 3), 255, dtype=np.uint8)
    images[1] = 0
    with pytest.raises(WeightsError) as caught:
        network.embed(images, ["a.png", "b.png", "c.png"])
    message = str(caught.value)
    assert message.startswith("embedding.members.0: layer 'conv1' of test_resnet gives NaN or inf")
    assert "a.png and 1 more of its batch" in message
    with pytest.raises(WeightsError, match="image 0 of the batch"):
        network.embed(images)


def test_a_network_that_overflows_at_once_is_refused_when_loaded(
    tmp_path: Path, state: State
) -> None:
    torch.save({**state, CONV: state[CONV].sign() * 3e38}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="layer 'layer2' gives NaN or infinity for an image of"):
        networks(member(tmp_path / "w.pth"))


def test_moved_weights_are_the_same_and_changed_ones_are_not(tmp_path: Path) -> None:
    (version_of,) = [one.version_of for one in INPUTS if one.key == EMBEDDING_CONFIG]
    config = tmp_path / "bench.yaml"

    def version(weights: str) -> str:
        config.write_text(f"embedding: {{members: [{{weights: {weights}}}]}}", encoding="utf-8")
        return version_of(load_config(config), "bottle", file_hash)

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.pth").write_bytes(b"one")
    (tmp_path / "elsewhere" / "b.pth").write_bytes(b"one")
    (tmp_path / "other.pth").write_bytes(b"two")
    assert version("a.pth") == version("elsewhere/b.pth") == version(str(tmp_path / "a.pth"))
    assert (
        len({version("a.pth"), version("other.pth"), version("absent.pth"), version("null")}) == 4
    )


# (sections, embeddings, sentences)
FORESEEN: list[tuple[dict[str, Any], int, list[str]]] = [
    (
        {"coreset": {"percentage": 0.001}},
        500,
        ["coreset.percentage: 0.001 of 500 embeddings is not"],
    ),
    (
        {"scoring": {"anomaly_scorer_num_nn": 51}},
        500,
        ["scoring.anomaly_scorer_num_nn: asks for 51 neighbours, but the memory bank will hold 50"],
    ),
    ({"index": {"factory": "Flatt"}}, 500, ["index.factory: FAISS cannot build 'Flatt' over 50 x"]),
    ({"index": {"factory": "PQ5"}}, 500, ["index.factory: FAISS cannot build 'PQ5' over 50 x 16"]),
    ({"index": {"factory": "PQ4x40"}}, 500, ["index.factory: FAISS cannot build 'PQ4x40'"]),
    (
        {"index": {"factory": "IVF512,Flat"}},
        1000,
        ["index.factory: 'IVF512,Flat' needs at least 512 rows to train on, but the"],
    ),
    ({"index": {"factory": "PQ4x8"}}, 1000, ["index.factory: 'PQ4x8' needs at least 256 rows"]),
    ({"index": {"factory": "PCA8,IVF200,Flat"}}, 1000, ["'PCA8,IVF200,Flat' needs at least 200"]),
    ({"index": {"factory": "IVF2,PQ4x8"}}, 1000, ["'IVF2,PQ4x8' needs at least 256 rows"]),
    ({"index": {"factory": "IVF4,PQ4x8,RFlat"}}, 1000, ["'IVF4,PQ4x8,RFlat' needs at least 256"]),
    (
        {"index": {"search_parameters": "nprobe=4"}},
        500,
        ["index.search_parameters: 'nprobe=4' does not suit 'Flat'"],
    ),
    (
        {"index": {"factory": "IVF4,Flat", "search_parameters": "nprob=4"}},
        500,
        ["index.search_parameters: 'nprob=4' does not suit 'IVF4,Flat'"],
    ),
    (
        {"scoring": {"anomaly_scorer_num_nn": 99}, "index": {"factory": "Nonsense"}},
        500,
        ["scoring.anomaly_scorer_num_nn: asks for 99", "index.factory: FAISS cannot build"],
    ),
    ({"index": {"factory": "IVF4,Flat", "search_parameters": "nprobe=4"}}, 500, []),
    ({"index": {"factory": "HNSW32", "search_parameters": "efSearch=64"}}, 500, []),
    ({"coreset": {"sampler": "identity", "percentage": 0.001}}, 500, []),
    ({"coreset": {"number_of_starting_points": 1000, "projection_dimension": 4000}}, 500, []),
]


@pytest.mark.parametrize(
    ("shards", "percentage", "sentence"),
    [
        (12, 0.1, "coreset.shards: 12 are more than the 11 train images; lower it"),
        (11, 0.06, "coreset.shards: 11 share the 6 rows that the memory bank will hold, and one"),
        # As many picks as shards, but the first shard has 2 images, the others 3.
        (
            4,
            0.04,
            "coreset.shards: 4 share the 4 rows that the memory bank will hold, and one gets",
        ),
        (5, 0.1, ""),
    ],
)
def test_shards_without_an_image_or_a_pick_are_foreseen(
    shards: int, percentage: float, sentence: str
) -> None:
    config = settings(coreset={"shards": shards, "percentage": percentage})
    if not sentence:
        foresee(config, [(2, 5)], 11)
        return
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        foresee(config, [(2, 5)], 11)


@pytest.mark.parametrize(("sections", "rows", "sentences"), FORESEEN)
def test_what_must_fail_later_is_said_before_the_network_runs(
    sections: dict[str, Any], rows: int, sentences: list[str]
) -> None:
    config = settings(embedding={"target_embed_dimension": 16}, **sections)
    if not sentences:
        foresee(config, [(1, rows), (1, rows)], 1)
        return
    with pytest.raises(ConfigError) as caught:
        foresee(config, [(1, rows), (1, rows)], 1)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(sentences)
    for line, sentence in zip(lines, sentences, strict=True):
        assert sentence in line
        assert len(line) < 400


def test_grids_that_cannot_be_added_are_foreseen() -> None:
    config = settings(embedding={"members": [{}, {}]}, scoring={"ensemble": "leave_one_out"})
    foresee(config, [(28, 28), (28, 28)], 10)
    with pytest.raises(
        ConfigError, match=r"differ \(28 x 28, 14 x 14\); write scoring\.ensemble: m"
    ):
        foresee(config, [(28, 28), (14, 14)], 10)
    by_ranges = settings(embedding={"members": [{}, {}]}, scoring={"ensemble": "min_max"})
    foresee(by_ranges, [(28, 28), (14, 14)], 10)


FACTORIES = [
    "Flat", "IVF8,Flat", "IVF60,Flat", "IVF64,Flat", "HNSW2", "SQ8", "PQ4x4", "PQ4x6", "PQ4x24",
    "PQ3", "PCA8,IVF8,Flat", "OPQ4,PQ4x4", "IVF8,PQ4x4,RFlat", "Flat,Flat", "IDMap,Flat", "NSG16",
    "PCA32,Flat", "IVF8(HNSW4),Flat", "LSH", "",
]  # fmt: skip


@pytest.mark.parametrize("factory", FACTORIES)
def test_foresight_never_refuses_what_would_have_worked(factory: str) -> None:
    features = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    section = IndexSection.model_construct(factory=factory, search_parameters="")
    try:
        build_index(features, factory)
    except UserError:
        return
    foresee_index(section, 60, 16)
