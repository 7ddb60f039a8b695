"""A frozen backbone made ready to run often, on images of one size, without changing its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from patchcore_ops.feature_layout import FeatureLayout, tensors_of
from patchcore_ops.features import FeatureExtractor, LayerOutputs
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
    layouts : dict of str to FeatureLayout
        How the output of each layer that it was prepared for becomes a map.
    """

    network: torch.nn.Module
    device: torch.device
    precision: Precision
    layouts: Mapping[str, FeatureLayout]

    @property
    def map_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Channels, height and width of the feature map of each layer."""
        return {layer: layout.shape for layer, layout in self.layouts.items()}


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
    _fold_and_replace(backbone, layers, probe, device, precision)
    layouts = FeatureExtractor(backbone, layers).find_layouts(probe.to(device))
    return PreparedBackbone(backbone, device, precision, layouts)


def _fold_and_replace(
    backbone: torch.nn.Module,
    layers: Sequence[str],
    probe: torch.Tensor,
    device: torch.device,
    precision: Precision,
) -> None:
    run = observe(LayerOutputs(backbone, layers), probe)
    wanted = [backbone.get_submodule(layer) for layer in layers]
    fold_batch_norms(backbone, run, wanted, [tensor for _, tensor in tensors_of(run.output)])
    pad_evenly(backbone, run)
    backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # On GPUs cuDNN chooses the algorithm; in bfloat16 Winograd's would round too much.
    if device.type == "cpu" and precision == "float32":
        use_winograd(backbone, run)
        pack_weights(backbone, run)
