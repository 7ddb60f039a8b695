"""A frozen backbone made ready to run often, on images of one size, without changing its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.folding import fold_batch_norms
from patchcore_ops.packing import pack_weights
from patchcore_ops.probing import observe
from patchcore_ops.same_padding import pad_evenly
from patchcore_ops.sections import Precision
from patchcore_ops.winograd import use_winograd


@dataclass(frozen=True)
class PreparedBackbone:
    """A frozen backbone that is right for images of one size.

    Attributes
    ----------
    network : torch.nn.Module
        In eval mode, in channels-last memory.
    device : torch.device
        Where it computes.
    precision : "float32" or "bfloat16"
        Number format in which it computes.
    map_shapes : dict of str to (int, int, int)
        Channels, height and width of the feature map of each layer that it was prepared for.
    """

    network: torch.nn.Module
    device: torch.device
    precision: Precision
    map_shapes: Mapping[str, tuple[int, int, int]]


def prepare_for_inference(
    backbone: torch.nn.Module,
    layers: Sequence[str],
    imagesize: int,
    device: torch.device,
    precision: Precision = "float32",
) -> PreparedBackbone:
    """Fold what is constant, and move the backbone to its device in channels-last memory.

    Parameters
    ----------
    backbone : torch.nn.Module
        Frozen, in eval mode, and on any device; changed in place.
    layers : sequence of str
        What is asked of it; deeper ones stay as they are.
    imagesize : int
        Side of the square images, in pixels.
    device : torch.device
    precision : "float32" or "bfloat16"
        Number format in which it will compute.

    Raises
    ------
    WeightsError
        If a layer does not exist, never runs or gives no map.
    """
    here = next(backbone.parameters()).device
    probe = torch.zeros(1, 3, imagesize, imagesize, device=here)
    run = observe(FeatureExtractor(backbone, layers), probe)
    fold_batch_norms(backbone, run)
    pad_evenly(backbone, run)
    backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # On GPUs cuDNN chooses the algorithm; in bfloat16 Winograd's would round too much.
    if device.type == "cpu" and precision == "float32":
        use_winograd(backbone, run)
        pack_weights(backbone, run)
    shapes = {layer: tuple(maps.shape[1:]) for layer, maps in zip(layers, run.output, strict=True)}
    return PreparedBackbone(backbone, device, precision, shapes)
