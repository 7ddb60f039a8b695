"""A prepared backbone gives what the backbone gave; each preparation against its definition."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rounding_kit import UNIT, rounded_as_float32, sum_bound
from timm.layers.conv2d_same import Conv2dSame

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.folding import fold_batch_norms
from patchcore_ops.inference import prepare_for_inference
from patchcore_ops.network_library import import_timm
from patchcore_ops.packing import PackedConvolution, pack_weights
from patchcore_ops.probing import observe
from patchcore_ops.same_padding import pad_evenly
from patchcore_ops.winograd import WinogradConvolution, use_winograd

timm = import_timm()
CPU = torch.device("cpu")


def frozen(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give a network weights and statistics as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return network.eval().requires_grad_(False)


def model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return frozen(timm.create_model(name, pretrained=False))


def kinds(network: torch.nn.Module) -> dict[type, int]:
    return {
        kind: sum(type(module) is kind for module in network.modules())
        for kind in (torch.nn.BatchNorm2d, Conv2dSame, WinogradConvolution, PackedConvolution)
    }


@pytest.mark.parametrize(
    ("name", "layers", "side", "winograd"),
    [
        ("resnet18", ["layer2", "layer3"], 64, 3),
        ("resnet18", ["layer2", "layer4"], 97, 3 + 3),
        ("wide_resnet50_2", ["layer2", "layer3"], 64, 3 + 5),
        ("densenet121", ["features.denseblock1", "features.denseblock2"], 64, 0),
        ("tf_efficientnet_lite0", ["blocks.2", "blocks.4"], 64, 0),
        ("tf_efficientnet_lite0", ["blocks.2", "blocks.4"], 75, 0),
        ("tf_efficientnetv2_s", ["blocks.1", "blocks.3"], 96, 0),
        ("vit_tiny_patch16_224", ["blocks.3", "blocks.5"], 224, 0),
    ],
)
def test_a_prepared_backbone_gives_the_same_features(
    name: str, layers: list[str], side: int, winograd: int
) -> None:
    backbone = model(name)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = FeatureExtractor(backbone.double(), layers)(images.double())
        rounded = FeatureExtractor(rounded_as_float32(backbone), layers)(images.double())
        prepared = prepare_for_inference(backbone.float(), layers, side, CPU)
        features = FeatureExtractor(prepared.network, layers)(images)
    assert kinds(prepared.network)[WinogradConvolution] == winograd
    ran = observe(FeatureExtractor(prepared.network, layers), images).runs
    assert not any(type(module) is Conv2dSame for module in ran)
    assert [prepared.map_shapes[layer] for layer in layers] == [maps.shape[1:] for maps in features]
    for got, wanted, also_rounded in zip(features, expected, rounded, strict=True):
        assert (got - wanted).norm() < 2 * (also_rounded - wanted).norm()


def test_what_is_not_float32_keeps_its_convolutions() -> None:
    prepared = prepare_for_inference(model("resnet18"), ["layer4"], 64, CPU, "bfloat16").network
    assert kinds(prepared)[WinogradConvolution] == kinds(prepared)[PackedConvolution] == 0
    assert kinds(prepared)[torch.nn.BatchNorm2d] == 0


class Shared(torch.nn.Module):
    """A convolution that is normalised twice, and one whose output is used besides."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 1)
        self.one, self.other = torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4)
        self.second = torch.nn.Conv2d(4, 4, 1)
        self.third = torch.nn.BatchNorm2d(4)
        self.last = torch.nn.Conv2d(4, 4, 3, bias=False)
        self.fourth = torch.nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = self.first(images)
        second = self.second(self.one(first) + self.other(first))
        return self.fourth(self.last(self.third(second) + torch.relu(self.third(second))))


def test_only_what_is_normalised_once_is_folded() -> None:
    network = frozen(Shared())
    images = torch.randn(2, 3, 8, 8)
    expected = network(images)
    assert fold_batch_norms(network, observe(network, images[:1])) == 1
    assert kinds(network)[torch.nn.BatchNorm2d] == 3
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("sides", [(12, 12), (13, 12), (7, 16)])
@pytest.mark.parametrize("groups", [1, 4])
def test_even_padding_equals_uneven_padding(
    kernel: int, stride: int, sides: tuple[int, int], groups: int
) -> None:
    network = frozen(torch.nn.Sequential(Conv2dSame(4, 8, kernel, stride, groups=groups)))
    images = torch.randn(2, 4, *sides)
    # The definition: enough zeros for ceil(side / stride) outputs, the odd one at the end.
    beyond = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in reversed(sides)]
    padded = F.pad(images, [part for all_ in beyond for part in (all_ // 2, all_ - all_ // 2)])
    own = network[0]
    expected = F.conv2d(padded, own.weight, own.bias, stride, groups=groups)
    assert pad_evenly(network, observe(network, images[:1])) == 1
    torch.testing.assert_close(network(images), expected)


def test_dilated_kernels_that_cannot_start_with_zeros_stay() -> None:
    network = frozen(torch.nn.Sequential(Conv2dSame(4, 8, 3, 2, dilation=2)))
    images = torch.randn(2, 4, 12, 12)
    expected = network(images)
    assert pad_evenly(network, observe(network, images[:1])) == 0
    torch.testing.assert_close(network(images), expected)


class Twice(torch.nn.Module):
    """A convolution that is used for maps of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = Conv2dSame(3, 3, 3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.convolution(images))


def test_a_convolution_of_maps_of_two_sizes_stays() -> None:
    network = frozen(Twice())
    assert pad_evenly(network, observe(network, torch.zeros(1, 3, 12, 12))) == 0


@pytest.mark.parametrize("tile_side", [2, 4])
@pytest.mark.parametrize("sides", [(8, 8), (1, 1), (7, 10), (14, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_winograd_equals_the_convolution(
    tile_side: int, sides: tuple[int, int], bias: bool, channels_last: bool
) -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(6, 9, 3, padding=1, bias=bias).requires_grad_(False)
    maps = torch.randn(3, 6, *sides)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    quick = WinogradConvolution(convolution, tile_side)(maps)
    expected = convolution.double()(maps.double())
    assert quick.shape == expected.shape
    assert quick.permute(0, 2, 3, 1).is_contiguous()
    torch.testing.assert_close(quick.double(), expected, rtol=1e-5, atol=1e-5)


def growth(quick: WinogradConvolution, convolution: torch.nn.Conv2d) -> float:
    """Return how much larger the sums of Winograd's algorithm are than what comes of them.

    Of maps with unit variance, a sum over C channels has the variance C |row of the input's map|^2
    times the mean square of its kernels; the output's map adds up the errors of all sums.
    """
    channels = convolution.in_channels
    of_sums = quick.into.square().sum(dim=1) * quick.kernels.square().mean(dim=(1, 2)) * channels
    of_outputs = 9 * channels * convolution.weight.square().mean()
    return float(((quick.out_of.square() @ of_sums).mean() / of_outputs).sqrt())


@pytest.mark.parametrize(("tile_side", "expected"), [(2, 5 / 3), (4, 10.8)])
def test_winograd_rounds_as_sums_over_its_channels_do(tile_side: int, expected: float) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1).requires_grad_(False)
    maps = torch.randn(1, 256, 28, 28, generator=generator)
    exact = F.conv2d(
        maps.double(), convolution.weight.double(), convolution.bias.double(), padding=1
    )
    quick = WinogradConvolution(convolution, tile_side)
    grown = growth(quick, convolution)
    assert grown == pytest.approx(expected, rel=0.01)
    # A sum of n roundings is off by sqrt(n) units, relative to what is summed.
    error = (quick(maps) - exact).norm() / exact.norm()
    assert error < grown * math.sqrt(256) * UNIT


@pytest.mark.parametrize(
    "unsuitable",
    [
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"kernel_size": 1, "padding": 0},
        {"kernel_size": 5, "padding": 2},
        {"out_channels": 128},
        {"padding_mode": "reflect"},
    ],
)
def test_other_convolutions_stay_as_they_are(unsuitable: dict[str, int]) -> None:
    settings = {"in_channels": 256, "out_channels": 256, "kernel_size": 3, "padding": 1}
    network = torch.nn.Sequential(torch.nn.Conv2d(**{**settings, **unsuitable})).eval()
    maps = torch.randn(1, 256, 9, 9)
    assert use_winograd(network, observe(network, maps)) == 0
    plain = torch.nn.Sequential(torch.nn.Conv2d(**settings)).eval()
    assert use_winograd(plain, observe(plain, maps)) == 1


def test_tiles_suit_the_maps_that_they_cover() -> None:
    for side, expected in itertools.chain([(56, 4), (28, 4), (14, 4), (7, 4), (6, 2), (2, 2)]):
        network = torch.nn.Sequential(torch.nn.Conv2d(256, 256, 3, padding=1)).eval()
        use_winograd(network, observe(network, torch.zeros(1, 256, side, side)))
        assert network[0].out_of.shape == (expected**2, (expected + 2) ** 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2, "bias": False},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "bias": False},
        {"kernel_size": (7, 5), "padding": (3, 2), "stride": (2, 1)},
    ],
)
@pytest.mark.parametrize("batch", [1, 3, 8, 9])
@pytest.mark.parametrize("sides", [(12, 12), (7, 10)])
def test_a_packed_convolution_equals_the_convolution(
    settings: dict[str, Any], batch: int, sides: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = frozen(torch.nn.Sequential(torch.nn.Conv2d(40, 24, **settings)))
    network.to(memory_format=torch.channels_last)
    terms = network[0].weight[0].numel()
    maps = torch.randn(batch, 40, *sides).contiguous(memory_format=torch.channels_last)
    exact, magnitudes = (copy.deepcopy(network).double() for _ in range(2))
    for parameter in magnitudes.parameters():
        parameter.abs_()
    with torch.inference_mode():
        assert pack_weights(network, observe(network, torch.zeros(1, 40, 12, 12))) == 1
        packed = network(maps)
        error = (packed - exact(maps.double())).abs()
        allowed = sum_bound(terms, magnitudes(maps.double().abs()))
    assert packed.is_contiguous(memory_format=torch.channels_last)
    assert (error <= allowed).all()


@pytest.mark.parametrize(
    "unsuitable", [{"groups": 2}, {"padding": "same"}, {"padding": 1, "padding_mode": "circular"}]
)
def test_convolutions_that_cannot_be_packed_stay(unsuitable: dict[str, Any]) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, **unsuitable)).eval()
    assert pack_weights(network, observe(network, torch.zeros(1, 4, 8, 8))) == 0
    assert type(network[0]) is torch.nn.Conv2d
