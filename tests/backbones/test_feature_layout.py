"""Layers' outputs become maps of the image: the right tensor, axes, order, and nothing later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F

from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.runtime.errors import WeightsError

Arrange = Callable[[torch.Tensor], Any]


class Arranged(torch.nn.Module):
    """A network whose one layer gives the image, made small, as a test arranges it."""

    def __init__(self, arrange: Arrange) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.layer = torch.nn.Identity()
        self.arrange = arrange

    def forward(self, images: torch.Tensor) -> None:
        self.layer(self.arrange(small(images)))


def small(images: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(images, 4)


def tokens(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(2).transpose(1, 2)


def after_others(maps: torch.Tensor, others: int) -> torch.Tensor:
    total = tokens(maps).mean(dim=1, keepdim=True)
    return torch.cat([total.expand(-1, others, -1), tokens(maps)], dim=1)


def in_blocks(maps: torch.Tensor) -> torch.Tensor:
    """Cut a map into 4 x 4 squares: [B, squares, 16, C]."""
    squares = maps.unfold(2, 4, 4).unfold(3, 4, 4)
    return squares.permute(0, 2, 3, 4, 5, 1).reshape(len(maps), -1, 16, maps.shape[1])


ARRANGEMENTS: dict[str, Arrange] = {
    "NCHW": lambda maps: maps,
    "NHWC": lambda maps: maps.permute(0, 2, 3, 1),
    "NLC, tokens row by row": tokens,
    "NLC, tokens row by row after 1 other": lambda maps: after_others(maps, 1),
    "NLC, tokens row by row after 5 others": lambda maps: after_others(maps, 5),
    "NCL, tokens row by row": lambda maps: maps.flatten(2),
    "NLC, tokens in 16 blocks": in_blocks,
    "element 0: NCHW": lambda maps: (maps, 3),
    "element 1: NHWC": lambda maps: [maps.mean((2, 3)), maps.permute(0, 2, 3, 1), maps],
    "element tokens: NLC, tokens row by row": lambda maps: {
        "size": (16, 16),
        "tokens": tokens(maps),
    },
    "element 1.0: NCHW": lambda maps: (None, [maps]),
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_is_found_and_undone(name: str) -> None:
    extractor = FeatureExtractor(Arranged(ARRANGEMENTS[name]), ["layer"])
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(extractor(images)[0], small(images))
    layout = extractor.find_layouts(images)["layer"]
    assert str(layout) == name
    assert layout.shape == (3, 16, 16)


@pytest.mark.parametrize("sides", [(64, 128), (96, 64), (32, 224)])
@pytest.mark.parametrize("others", [0, 1, 5])
def test_images_need_not_be_square(sides: tuple[int, int], others: int) -> None:
    extractor = FeatureExtractor(Arranged(lambda maps: after_others(maps, others)), ["layer"])
    for images in (torch.randn(2, 3, *sides), torch.randn(1, 3, *reversed(sides))):
        assert torch.equal(extractor(images)[0], small(images))


WRONG: dict[str, Arrange] = {
    "transposed": lambda maps: maps.transpose(2, 3),
    "mirrored": lambda maps: maps.flip(3),
    "upside down": lambda maps: tokens(maps.flip(2)),
    "rolled": lambda maps: tokens(maps).roll(5 * 16, 1),
    "shuffled": lambda maps: tokens(maps)[:, torch.randperm(256)],
    "mixed": lambda maps: tokens(maps).cumsum(1),
    "pooled": lambda maps: maps.mean((2, 3), keepdim=True).expand(-1, -1, 16, 16),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_map_that_cannot_be_shown_is_refused(name: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(WeightsError, match=r"layer 'layer' gives .* one place of the image does"):
        FeatureExtractor(Arranged(WRONG[name]), ["layer"])(torch.zeros(1, 3, 64, 64))


def test_cells_that_answer_to_everything_hide_nothing() -> None:
    def with_outliers(maps: torch.Tensor) -> torch.Tensor:
        spread = tokens(maps).sum(dim=1, keepdim=True) * 3
        return torch.cat([tokens(maps)[:, :100], spread, tokens(maps)[:, 101:]], dim=1)

    images = torch.randn(1, 3, 64, 64)
    (maps,) = FeatureExtractor(Arranged(with_outliers), ["layer"])(images)
    assert maps.shape == (1, 3, 16, 16)
    assert torch.equal(maps[..., 7:, :], small(images)[..., 7:, :])


SMALL = {"img_size": 64}
# timm's own way to intermediate maps is the oracle: network, options, layer, index there.
NETWORKS: list[tuple[str, dict[str, Any], str, int]] = [
    ("hiera_tiny_224", SMALL, "blocks.0", 0),
    ("hiera_tiny_224", SMALL, "blocks.2", 1),
    ("volo_d1_224", SMALL, "network.0", 0),
    ("cait_xxs24_224", {**SMALL, "depth": 2}, "blocks.1", 1),
    ("xcit_nano_12_p16_224", {**SMALL, "depth": 2}, "blocks.1", 1),
    ("deit_tiny_distilled_patch16_224", {**SMALL, "depth": 2}, "blocks.1", 1),
    ("mvitv2_tiny", SMALL, "stages.1", 1),
    ("swinv2_cr_tiny_ns_224", {"img_size": 224, "depths": (1, 1, 1, 1)}, "stages.1", 1),
    ("pit_ti_224", {"img_size": 224, "depth": (1, 1, 1)}, "transformers.0", 0),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 112, "depth": 2}, "blocks.1", 1),
]


@pytest.mark.parametrize(("name", "options", "layer", "index"), NETWORKS)
def test_networks_of_timm_give_what_timm_says(
    name: str, options: dict[str, Any], layer: str, index: int
) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **options).eval()
    images = torch.randn(2, 3, options["img_size"], options["img_size"])
    with torch.inference_mode():
        (got,) = FeatureExtractor(network, [layer])(images)
        intermediates = network.forward_intermediates(
            images, indices=[index], norm=False, intermediates_only=True
        )
    torch.testing.assert_close(got, intermediates[0])


class Odd(torch.nn.Module):
    """Convolutions before normalisations, whose outputs are asked for in roundabout ways."""

    def __init__(self) -> None:
        super().__init__()
        self.wrapped = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1))
        self.norm = torch.nn.BatchNorm2d(8)
        self.act = torch.nn.ReLU(inplace=True)
        self.as_tokens = Tokens()
        self.norm2 = torch.nn.BatchNorm2d(8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.act(self.norm(self.wrapped(images)))
        shown = self.as_tokens(maps)
        again = self.norm2(self.as_tokens.conv.kept)
        return again.mul_(2).sum() + shown.sum()


class Kept(torch.nn.Conv2d):
    """A convolution that keeps its output."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        self.kept = super().forward(maps)
        return self.kept


class Tokens(torch.nn.Module):
    """A convolution whose output is seen as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Kept(8, 8, 3, padding=1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return tokens(self.conv(maps))


def trained(network: torch.nn.Module) -> torch.nn.Module:
    """Give a network weights and statistics as if it had been trained."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 1.5)
            for tensor in (module.running_mean, module.bias):
                tensor.data.uniform_(-0.5, 0.5)
    return network.eval().requires_grad_(False)


def literal_outputs(
    network: torch.nn.Module, layers: list[str], images: torch.Tensor
) -> list[torch.Tensor]:
    """Copy each layer's output the moment it is there."""
    outputs: dict[str, torch.Tensor] = {}
    handles = [
        network.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: outputs.update({layer: output.clone()})
        )
        for layer in layers
    ]
    with torch.inference_mode():
        network(images)
    for handle in handles:
        handle.remove()
    return [outputs[layer] for layer in layers]


def parts_of(name: str) -> Iterator[list[str]]:
    yield from {
        "resnet18": (
            ["conv1", "layer2"],
            ["bn1", "layer1.0.bn1", "layer1.0.conv1", "layer1.0.bn2"],
            ["act1", "layer1.0.act1", "layer2.0.downsample.0", "layer2.0.downsample"],
        ),
        "tf_efficientnet_lite0": (
            ["conv_stem", "blocks.2"],
            ["bn1", "blocks.1.0.bn1", "blocks.1.0.conv_pw", "blocks.1.0.conv_dw"],
            ["bn1.act", "blocks.1.0.bn1.drop", "blocks.1.0"],
        ),
        "densenet121": (["features.conv0", "features.denseblock1.denselayer2.conv1"],),
        "odd": (["wrapped"], ["norm", "act"], ["wrapped.0", "act"], ["as_tokens"], ["norm2"]),
    }[name]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        (name, layers)
        for name in ("resnet18", "tf_efficientnet_lite0", "densenet121", "odd")
        for layers in parts_of(name)
    ],
)
def test_a_layer_gives_what_the_literal_network_gives(name: str, layers: list[str]) -> None:
    torch.manual_seed(0)
    network = trained(Odd() if name == "odd" else timm.create_model(name, pretrained=False))
    images = torch.randn(2, 3, 64, 64)
    expected = literal_outputs(network, layers, images)
    with torch.inference_mode():
        plain = FeatureExtractor(network, layers)(images)
    for literal, got in zip(expected, plain, strict=True):
        is_tokens = literal.ndim == 3
        maps = literal.transpose(1, 2).unflatten(2, (64, 64)) if is_tokens else literal
        assert torch.equal(got, maps)


class Bounded(torch.nn.Module):
    """A network that changes its layer's output in place, where the image is far from noise."""

    def __init__(self, arrange: Arrange) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.layer = torch.nn.Identity()
        self.last = torch.nn.Identity()
        self.arrange = arrange

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = small(images).contiguous(memory_format=torch.channels_last)
        self.layer(self.arrange(maps))
        return self.last(maps.clamp_(max=100))


@pytest.mark.parametrize("name", ["NCHW", "NHWC", "element 0: NCHW", "element 1.0: NCHW"])
def test_what_is_overwritten_for_some_images_only_is_copied_for_all(name: str) -> None:
    network = Bounded(ARRANGEMENTS[name])
    images = 1000 * torch.rand(2, 3, 64, 64)
    got, after = FeatureExtractor(network, ["layer", "last"])(images)
    assert torch.equal(got, small(images))
    assert torch.equal(after, small(images).clamp(max=100))


@pytest.mark.parametrize("layers", [["layer1"], ["layer1", "fc"], ["fc"]])
def test_no_hook_stays_behind(layers: list[str]) -> None:
    network = timm.create_model("resnet18", pretrained=False).eval().requires_grad_(False)
    images = torch.zeros(1, 3, 64, 64)
    with suppress(WeightsError):
        FeatureExtractor(network, layers)(images)
    with pytest.raises(RuntimeError):
        FeatureExtractor(network, layers)(images[:, :2])
    assert not any(module._forward_hooks for module in network.modules())


class Again(torch.nn.Module):
    """A network that runs its layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.last = torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.twice(self.twice(images)))


@pytest.mark.parametrize("layers", [["twice"], ["twice", "last"]])
def test_of_a_layer_that_runs_twice_the_first_output_counts(layers: list[str]) -> None:
    network = Again().eval().requires_grad_(False)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(FeatureExtractor(network, layers)(images)[0], network.twice(images))


def test_layouts_that_are_known_are_not_looked_for_again() -> None:
    network = Arranged(tokens).eval().requires_grad_(False)
    layouts = FeatureExtractor(network, ["layer"]).find_layouts(torch.zeros(1, 3, 64, 64))
    assert layouts["layer"].shape == (3, 16, 16)
    calls: list[int] = []
    network.register_forward_pre_hook(lambda _module, inputs: calls.append(len(inputs[0])))
    FeatureExtractor(network, ["layer"], layouts)(torch.zeros(2, 3, 64, 64))
    assert calls == [2]
