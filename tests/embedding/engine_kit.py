"""What the tests of the engines share: networks as if trained, configurations, a store, images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.exported_network import NetworkSettings

CPU = RuntimeSection(device="cpu")
BY_TORCH = RuntimeSection(device="cpu", engine="torch")
PRETRAIN, TARGET = 96, 64
# Of a network that is never made.
NETWORK = NetworkSettings(
    backbone="resnet18",
    weights="0" * 64,
    layers=("layer2", "layer3"),
    patchsize=3,
    pretrain_embed_dimension=1024,
    target_embed_dimension=1024,
    imagesize=224,
    precision="float32",
    libraries=("torch 2",),
)


class InFolder:
    """Keeps exported networks, and counts how often one is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[str] = []

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        folder = self.root / settings.identity
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
            self.made.append(settings.backbone)
        yield folder

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        folder = self.root / identity
        yield folder if folder.exists() else None


def trained(name: str, side: int) -> torch.nn.Module:
    """Make a network whose statistics are as if it had been trained."""
    torch.manual_seed(0)
    options = {"img_size": side} if name.startswith("vit") else {}
    network: torch.nn.Module = timm.create_model(name, pretrained=False, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.data.uniform_(-0.2, 0.2)
            module.running_var.data.uniform_(0.5, 1.5)
    return network.eval().requires_grad_(False)


def config_of(
    name: str, layers: list[str], side: int, weights: Path, **keys: Any
) -> CategoryConfig:
    member = {"backbone": name, "layers": layers, "weights": str(weights)}
    embedding = {
        "members": [member],
        "pretrain_embed_dimension": PRETRAIN,
        "target_embed_dimension": TARGET,
        **keys,
    }
    return CategoryConfig.model_validate(
        {"dataset": {"resize": side, "imagesize": side}, "embedding": embedding}
    )


def saved(network: torch.nn.Module, file: Path) -> Path:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)
    return file


def images_of(side: int, count: int = 5) -> Pixels:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def literal_pooling(
    features: Sequence[torch.Tensor], patchsize: int, pretrain: int, target: int
) -> torch.Tensor:
    """Pool a network's maps as the paper's implementation defines it, in their own precision."""
    images, _, height, width = features[0].shape
    layers = []
    for maps in features:
        patches = F.unfold(maps, patchsize, stride=1, padding=(patchsize - 1) // 2)
        planes = patches.reshape(images, -1, *maps.shape[2:])  # one per (channel, dy, dx)
        if layers:
            planes = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
        flattened = planes.permute(0, 2, 3, 1).reshape(images * height * width, 1, -1)
        layers.append(F.adaptive_avg_pool1d(flattened, pretrain).squeeze(1))
    stacked = torch.stack(layers, dim=1).flatten(1)
    return F.adaptive_avg_pool1d(stacked.unsqueeze(1), target).squeeze(1)
