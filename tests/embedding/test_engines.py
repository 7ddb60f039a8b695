"""Engines: the exported network against torch, alone and beside other images, and what falls back.

The oracle is the literal network in float64, with the paper's pooling written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from engine_kit import (
    BY_TORCH,
    CPU,
    PRETRAIN,
    TARGET,
    InFolder,
    config_of,
    images_of,
    literal_pooling,
    saved,
    trained,
)
from rounding_kit import rounded_as_float32

from patchcore_ops.backbones import normalisation_of
from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding import network_export
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.ensemble import open_networks
from patchcore_ops.embedding.exported_network import network_settings
from patchcore_ops.embedding.torch_engine import float32_convolutions
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem
from patchcore_ops.runtime.fingerprints import file_hash


def literal(network: torch.nn.Module, layers: list[str], images: Pixels) -> Embeddings:
    """Embed as the paper writes it, in the network's own precision."""
    dtype = next(network.parameters()).dtype
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 255
    mean, std = (value.to(dtype) for value in normalisation_of(network))
    with torch.inference_mode():
        features = FeatureExtractor(network, layers)((pixels - mean) / std)
    return literal_pooling(features, 3, PRETRAIN, TARGET).numpy()


@pytest.mark.parametrize(
    ("name", "layers", "side"),
    [
        ("resnet18", ["layer1", "layer3"], 97),
        ("resnet18", ["bn1", "layer1.0.act1", "layer2.0.downsample.0"], 64),
        ("densenet121", ["features.denseblock1", "features.denseblock2"], 64),
        ("tf_efficientnet_lite0", ["blocks.2", "blocks.4"], 75),
        ("convnext_atto", ["stages.1", "stages.2"], 64),
        ("vit_tiny_patch16_224", ["blocks.3", "blocks.5"], 64),
    ],
)
def test_engines_give_the_definition(
    name: str, layers: list[str], side: int, tmp_path: Path
) -> None:
    network = trained(name, side)
    config = config_of(name, layers, side, saved(network, tmp_path / "w.safetensors"))
    images = images_of(side, 2)
    store = InFolder(tmp_path / "networks")
    by_openvino, by_torch = open_networks(config, CPU, store), open_networks(config, BY_TORCH)
    assert by_openvino.fallbacks == by_torch.fallbacks == [""]
    assert store.made == [name]
    expected = literal(network.double(), layers, images)
    rounding = np.linalg.norm(literal(rounded_as_float32(network), layers, images) - expected)
    for networks in (by_openvino, by_torch):
        (rows,) = networks.embed(images)
        assert rows.dtype == np.float32
        assert rows.shape == expected.shape
        assert np.linalg.norm(rows - expected) < 3 * rounding
    (engine,), (other,) = by_openvino.engines, by_torch.engines
    assert engine.name.startswith("openvino ") and other.name.startswith("torch ")
    assert engine.grid == other.grid
    assert engine.weights_sha256 == other.weights_sha256
    assert engine.first_dimensions == other.first_dimensions


def test_the_images_beside_an_image_change_nothing(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = resnet
    images = images_of(64, 7)
    alone = [open_networks(config, CPU, store).embed(image[None])[0] for image in images]
    expected = np.concatenate(alone)
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        networks = open_networks(config, CPU, store)
        for size in (1, 2, 7):
            batches = [(images[at : at + size], ()) for at in range(0, 7, size)]
            rows = np.concatenate([rows for (rows,) in networks.embed_all(batches)])
            assert rows.tobytes() == expected.tobytes()
    assert store.made == ["resnet18"]


def test_a_lower_batch_size_holds_fewer_images(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    config, store = resnet
    images = images_of(64, 20)
    rows = {}
    for engine, batch_size, at_once in [
        ("openvino", 1, 1),
        ("openvino", 3, 3),
        ("openvino", 16, 6),
        ("torch", 2, 2),
    ]:
        runtime = RuntimeSection(device="cpu", engine=engine, batch_size=batch_size)
        networks = open_networks(config, runtime, store)
        taken = written = most = 0

        def batches(size: int) -> Iterator[tuple[Pixels, tuple[()]]]:
            nonlocal taken
            for at in range(0, len(images), size):
                taken += size
                yield images[at : at + size], ()

        got = []
        for (embeddings,) in networks.embed_all(batches(networks.batch_size)):
            most = max(most, taken - written)
            written += networks.batch_size
            got.append(embeddings)
        assert most <= at_once + 2 * networks.batch_size
        assert networks.batch_size * networks.engines[0].calls_at_once == at_once
        rows[engine, batch_size] = np.concatenate(got)
    for batch_size in (1, 3):
        assert np.array_equal(rows["openvino", batch_size], rows["openvino", 16])


def test_embedding_stops_where_a_batch_fails(resnet: tuple[CategoryConfig, InFolder]) -> None:
    def batches() -> Iterator[tuple[Pixels, tuple[()]]]:
        yield images_of(64, 1), ()
        raise OSError("the disk is gone")

    embedded = open_networks(*(resnet[0], CPU, resnet[1])).embed_all(batches())
    with pytest.raises(OSError, match="the disk is gone"):
        list(embedded)


def test_what_can_change_the_numbers_identifies_a_network(
    resnet: tuple[CategoryConfig, InFolder], tmp_path: Path
) -> None:
    config, _ = resnet
    weights = Path(str(config.embedding.members[0].weights))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    other = saved(timm.create_model("resnet18"), tmp_path / "other.safetensors")
    same = [config, config_of("resnet18", ["layer2", "layer3"], 64, moved)]
    different = [
        config_of("resnet18", ["layer2", "layer3"], 64, other),
        config_of("resnet34", ["layer2", "layer3"], 64, weights),
        config_of("resnet18", ["layer3", "layer2"], 64, weights),
        config_of("resnet18", ["layer2", "layer3"], 96, weights),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, patchsize=5),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, pretrain_embed_dimension=95),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, target_embed_dimension=63),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, precision="bfloat16"),
    ]
    identities = [network_settings(one, 0, file_hash).identity for one in (*same, *different)]
    assert identities[0] == identities[1]
    assert len(set(identities)) == 1 + len(different)


def test_bfloat16_is_the_engines_own(resnet: tuple[CategoryConfig, InFolder]) -> None:
    config, store = resnet
    embedding = config.embedding.model_copy(update={"precision": "bfloat16"})
    configs = (config, config.model_copy(update={"embedding": embedding}))
    exact, short = (open_networks(one, CPU, store).embed(images_of(64, 2))[0] for one in configs)
    difference = np.linalg.norm(short - exact) / np.linalg.norm(exact)
    # A processor without the format computes in float32.
    assert difference < 0.02


class Branching(torch.nn.Module):
    """A network whose way depends on the image, which no graph can say."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if float(images.mean()) > 10:
            images = images + 1
        maps: torch.Tensor = self.layer(images)
        return maps


@pytest.fixture
def branching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CategoryConfig:
    network = Branching().eval().requires_grad_(False)
    monkeypatch.setattr("patchcore_ops.embedding.torch_engine.load_backbone", lambda *_: network)
    (tmp_path / "w.pth").write_bytes(b"weights")
    return config_of("branching", ["layer"], 32, tmp_path / "w.pth")


def test_a_network_that_cannot_be_exported_is_run_by_torch(
    branching: CategoryConfig, tmp_path: Path
) -> None:
    store = InFolder(tmp_path / "networks")
    images = images_of(32, 3)
    (expected,) = open_networks(branching, BY_TORCH).embed(images)
    for _ in range(2):
        networks = open_networks(branching, CPU, store)
        assert networks.fallbacks[0].startswith("branching cannot be exported to OpenVINO (")
        assert "\n" not in networks.fallbacks[0]
        assert networks.engines[0].name.startswith("torch ")
        assert np.array_equal(networks.embed(images)[0], expected)
    # What cannot be done is not tried again.
    assert store.made == ["branching"]
    [folder] = store.root.iterdir()
    assert [file.name for file in folder.iterdir()] == ["network.json"]


def test_a_graph_that_computes_something_else_is_not_used(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    convert = network_export._convert

    def convert_wrongly(network: Any, image: torch.Tensor, file: Path) -> None:
        network.std *= 1.01
        convert(network, image, file)
        network.std /= 1.01

    monkeypatch.setattr(network_export, "_convert", convert_wrongly)
    networks = open_networks(resnet[0], CPU, InFolder(tmp_path))
    assert "its embeddings differ from torch's by 0.0" in networks.fallbacks[0]
    assert networks.engines[0].name.startswith("torch ")


def test_where_openvino_cannot_run_a_network_torch_does(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(*_: object, **__: object) -> None:
        raise RuntimeError("no such\n instructions")

    open_networks(resnet[0], CPU, resnet[1])
    monkeypatch.setattr("patchcore_ops.embedding.openvino_engine.compile_graph", compile_nothing)
    networks = open_networks(resnet[0], CPU, resnet[1])
    said = "OpenVINO cannot run resnet18 on this processor (no such instructions)"
    assert networks.fallbacks == [said]
    assert networks.engines[0].name.startswith("torch ")


def test_members_of_both_engines_embed_together(
    branching: CategoryConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from patchcore_ops.backbones import load_backbone

    odd = Branching().eval().requires_grad_(False)
    monkeypatch.setattr(
        "patchcore_ops.embedding.torch_engine.load_backbone",
        lambda name, *others: odd if name == "branching" else load_backbone(name, *others),
    )
    weights = saved(trained("resnet18", 32), tmp_path / "r.safetensors")
    members = [
        *branching.embedding.members,
        *config_of("resnet18", ["layer1", "layer2"], 32, weights).embedding.members,
    ]
    sections = branching.model_dump()
    sections["embedding"]["members"] = [one.model_dump() for one in members]
    config = CategoryConfig.model_validate(sections)
    images = images_of(32, 5)
    expected = open_networks(config, BY_TORCH).embed(images)
    mixed = open_networks(config, CPU)
    assert [bool(reason) for reason in mixed.fallbacks] == [True, False]
    batches = [(images[at : at + 2], ()) for at in (0, 2, 4)]
    got = [np.concatenate(rows) for rows in zip(*mixed.embed_all(batches), strict=True)]
    for rows, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(rows, wanted, rtol=1e-4, atol=1e-5)


def test_openvino_is_asked_for_where_there_is_none(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_ops.embedding.engine_choice.find_spec", lambda name: None)
    networks = open_networks(resnet[0], CPU)
    assert networks.fallbacks == ["openvino is not installed"]
    assert networks.engines[0].name.startswith("torch ")
    with pytest.raises(EnvironmentProblem, match="openvino is not installed"):
        open_networks(resnet[0], RuntimeSection(device="cpu", engine="openvino"))


def test_openvino_on_a_gpu_is_a_mistake(tmp_path: Path) -> None:
    from patchcore_ops.config import load_config

    file = tmp_path / "patchcore.yaml"
    file.write_text("runtime: {engine: openvino, device: cuda}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="computes on the CPU, not on 'cuda'"):
        load_config(file)


def test_convolutions_on_a_gpu_keep_all_bits_of_float32_meanwhile() -> None:
    before = torch.backends.cudnn.flags(enabled=True, deterministic=True)
    with before, float32_convolutions():
        assert torch.backends.cudnn.allow_tf32 is False
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.allow_tf32
