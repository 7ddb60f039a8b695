"""Layers that cannot be used, and what is said of each."""

from __future__ import annotations

import pytest
import timm
import torch

from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.runtime.errors import WeightsError

BACKBONE = "test_resnet"

LAYERS = [
    (
        ["layer1", "layer9"],
        "the backbone has no layer 'layer9'; it has conv1",
        "did you mean layer",
    ),
    (
        ["layr2", "lyer3"],
        "the backbone has no layer 'layr2' and no layer 'lyer3'; it has",
        "layer2",
    ),
    (["layer1.7"], "the backbone has no layer 'layer1.7'; it has", "layer1.0"),
    (["global_pool"], "the output of layer 'global_pool' is no feature map (channels,", "[96]"),
    (["fc"], "the output of layer 'fc' is no feature map", "before the pooling"),
]


@pytest.mark.parametrize(("layers", "begins", "holds"), LAYERS)
def test_layers_that_cannot_be_used(layers: list[str], begins: str, holds: str) -> None:
    model = timm.create_model(BACKBONE, pretrained=False).eval()
    with pytest.raises(WeightsError) as caught:
        FeatureExtractor(model, layers)(torch.zeros(1, 3, 32, 32))
    message = str(caught.value)
    assert message.startswith(begins)
    assert holds in message


class _Odd(torch.nn.Module):
    """Layers whose outputs are a tuple, an empty grid, and tokens that are no square."""

    def __init__(self) -> None:
        super().__init__()
        for layer in ("words", "vectors", "empty", "tokens", "class_token", "windows", "constant"):
            self.add_module(layer, torch.nn.Identity())
        self.swapped = torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> None:
        tokens = images.flatten(2).transpose(1, 2)
        self.words(("a", 1))
        self.vectors((images.mean((2, 3)), images.amax((2, 3))))
        self.empty(images[:, :, :0])
        self.tokens(tokens[:, : 14 * 13])
        self.class_token(tokens[:, :1])
        self.windows(images.reshape(-1, 3, 4, 4))
        self.constant(torch.ones(len(images), 8, 4, 4))
        self.swapped(images.flip(3).transpose(2, 3).roll(3, 2))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("words", "the output of layer 'words' is no feature map .* but tuple; choose one before"),
        ("vectors", r"the output of layer 'vectors' is no feature map .* but \[3\] and \[3\]"),
        ("empty", "layer 'empty' gives an empty grid .* raise dataset.imagesize"),
        ("tokens", r"layer 'tokens' gives \[182, 3\], in which a change at one place .* does not"),
        ("class_token", r"the output of layer 'class_token' is no feature map .* but \[1, 3\]"),
        ("windows", r"the output of layer 'windows' is no feature map .* but \[3, 4, 4\]"),
        ("constant", "layer 'constant' gives the same for different images; .*: choose another"),
        ("swapped", r"layer 'swapped' gives \[3, 16, 16\], in which .*choose an earlier layer"),
    ],
)
def test_outputs_that_are_no_maps(layer: str, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence):
        FeatureExtractor(_Odd(), [layer])(torch.zeros(1, 3, 16, 16))
