"""The network in torch: the plain definition, which every engine has to agree with."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from patchcore_ops.backbones.load import load_backbone, normalisation_of, weights_hash
from patchcore_ops.config.sections import CategoryConfig, Precision
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.embedder import PatchEmbedder
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.runtime.errors import WeightsError
from patchcore_ops.runtime.process_settings import WhileNeeded

# cuDNN rounds what it multiplies to 11 bits (TF32) unless it is told otherwise.
float32_convolutions = WhileNeeded(
    lambda: torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=False,
    )
)


class ImageEmbedder(torch.nn.Module):
    """From decoded images to embeddings: normalisation, backbone and pooling."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, embedder: PatchEmbedder, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.embedder = embedder
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by other constants than the backbone's own."""
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(torch.tensor(values).reshape(buffer.shape))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed images, a Tensor of uint8, shape [B, height, width, 3]."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        normalised: torch.Tensor = (pixels - self.mean) / self.std
        rows: torch.Tensor = self.embedder(normalised)
        return rows


def load_embedder(config: CategoryConfig, member: int, device: torch.device) -> ImageEmbedder:
    """Load the network of an ensemble member.

    Raises WeightsError if the backbone cannot be had, or a layer does not exist, never runs or
    gives no map.
    """
    section, imagesize = config.embedding, config.dataset.sides
    settings = section.members[member]
    backbone = load_backbone(settings.backbone, settings.weights, imagesize)
    backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with _image_size_suits(settings.backbone, config.dataset.crop_size):
        embedder = PatchEmbedder(
            backbone,
            settings.layers,
            imagesize,
            section.pretrain_embed_dimension,
            section.target_embed_dimension,
            section.patchsize,
        )
    mean, std = (value.to(device) for value in normalisation_of(backbone))
    return ImageEmbedder(embedder, mean, std).requires_grad_(False)


class TorchEngine:
    """Embeds by torch; see `Engine`."""

    network = ""
    calls_at_once = 1

    def __init__(self, embedder: ImageEmbedder, precision: Precision, batch_size: int) -> None:
        self._embedder = embedder
        self._device = embedder.mean.device
        self._precision = precision
        self._in_turn = threading.Lock()
        self.images_per_call = batch_size
        self.name = f"torch {torch.__version__}"
        self.grid = embedder.embedder.grid
        self.first_dimensions = embedder.embedder.first_dimensions
        self.weights_sha256 = weights_hash(embedder.embedder.extractor.backbone)

    @torch.inference_mode()
    def embed(self, images: Pixels) -> Embeddings:
        """Embed a batch of images; see `Engine.embed`."""
        # torch warns of arrays that nobody may write to, as Pillow's are.
        pixels = torch.from_numpy(np.require(images, requirements="W")).to(self._device)
        is_short = self._precision == "bfloat16"
        whole = float32_convolutions() if self._device.type == "cuda" else nullcontext()
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=is_short)
        with self._in_turn, whole, autocast:
            rows: torch.Tensor = self._embedder(pixels)
        return rows.cpu().numpy()


@contextmanager
def _image_size_suits(name: str, size: tuple[int, int]) -> Iterator[None]:
    """Say that a network does not take images of a size; it can only be found by trying."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"'{name}' cannot take images of {size[0]} x {size[1]} pixels ({reason}); change "
            "dataset.imagesize, or choose another backbone"
        ) from None
