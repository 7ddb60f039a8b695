"""A frozen backbone made ready to run often, on images of one size, without changing its output."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.folding import fold_batch_norms
from patchcore_ops.probing import observe
from patchcore_ops.same_padding import pad_evenly
from patchcore_ops.sections import Precision
from patchcore_ops.winograd import use_winograd


def prepare_for_inference(
    backbone: torch.nn.Module,
    imagesize: int,
    device: torch.device,
    precision: Precision = "float32",
    layers: Sequence[str] = (),
) -> torch.nn.Module:
    """Fold what is constant, and move the backbone to its device in channels-last memory.

    Parameters
    ----------
    backbone : torch.nn.Module
        Frozen, in eval mode, and on any device; changed in place.
    imagesize : int
        Side of the square images, in pixels. The result is right for no other size.
    device : torch.device
    precision : "float32" or "bfloat16"
        Number format in which it will compute.
    layers : sequence of str
        What is asked of it; deeper ones stay as they are. By default the network's own output.

    Returns
    -------
    torch.nn.Module
        The backbone.
    """
    here = next(backbone.parameters()).device
    asked = FeatureExtractor(backbone, layers) if layers else backbone
    run = observe(asked, torch.zeros(1, 3, imagesize, imagesize, device=here))
    fold_batch_norms(backbone, run)
    pad_evenly(backbone, run)
    # On GPUs cuDNN chooses the algorithm; in bfloat16 this one would round too much.
    if device.type == "cpu" and precision == "float32":
        use_winograd(backbone, run)
    return backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
