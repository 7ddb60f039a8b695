"""Feature maps of chosen layers, from a backbone that runs no deeper than it must."""

from __future__ import annotations

import difflib
import math
import threading
from collections.abc import Sequence
from typing import Any

import torch

from patchcore_ops.errors import WeightsError


class _AllLayersSeen(Exception):
    """Unwinds the backbone's forward pass once every wanted layer has produced its output."""


class FeatureExtractor(torch.nn.Module):
    """Collects the outputs of named layers and stops the forward pass after the last of them.

    Several threads may call it at once.

    Parameters
    ----------
    backbone : torch.nn.Module
        Any network; it is not copied.
    layers : sequence of str
        Module names, dotted where nested (`layer2`, `features.denseblock2`, `blocks.2`).

    Raises
    ------
    WeightsError
        If a layer does not exist; the message lists the layers that do.
    """

    def __init__(self, backbone: torch.nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = tuple(layers)
        # What a call has collected belongs to its thread. Hooks stay where they are between calls:
        # another thread may be walking through them.
        self._of_thread = threading.local()
        for layer, module in _find_layers(backbone, self.layers).items():
            module.register_forward_hook(_collector(layer, len(self.layers), self._of_thread))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Run the backbone on normalised images.

        Parameters
        ----------
        images : Tensor of float32, shape [B, 3, H, W]

        Returns
        -------
        list of Tensor, shape [B, C, h, w]
            One per layer, in the order of `layers`. Token sequences and channels-last maps of
            transformers are brought into this shape.
        """
        outputs: dict[str, torch.Tensor] = {}
        self._of_thread.outputs = outputs
        try:
            self.backbone(images)
        except _AllLayersSeen:
            pass
        finally:
            del self._of_thread.outputs
        if len(outputs) < len(self.layers):
            unused = ", ".join(layer for layer in self.layers if layer not in outputs)
            raise WeightsError(f"the backbone never runs its layer {unused}; choose another")
        return [self._as_map(layer, outputs[layer]) for layer in self.layers]

    def _as_map(self, layer: str, output: torch.Tensor) -> torch.Tensor:
        """Bring a layer's output into [B, C, h, w]."""
        if not isinstance(output, torch.Tensor) or output.ndim not in (3, 4):
            raise _no_map(layer, output)
        if output.ndim == 3:
            prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))
            tokens = output[:, prefix:]
            side = math.isqrt(tokens.shape[1])
            if side * side != tokens.shape[1]:
                raise _no_map(layer, output)
            output = tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], side, side)
        elif getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            output = output.permute(0, 3, 1, 2)
        if 0 in output.shape[1:]:
            raise WeightsError(
                f"layer '{layer}' gives an empty grid for images of this size; raise "
                "dataset.imagesize, or choose an earlier layer"
            )
        return output


def _collector(layer: str, wanted: int, of_thread: threading.local) -> Any:
    """Return the hook of a layer; it does nothing unless its extractor is called in this thread."""

    def collect(_module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        outputs = getattr(of_thread, "outputs", None)
        if outputs is not None:
            outputs[layer] = output
            if len(outputs) == wanted:
                raise _AllLayersSeen

    return collect


def _no_map(layer: str, output: object) -> WeightsError:
    got = list(output.shape[1:]) if isinstance(output, torch.Tensor) else type(output).__name__
    return WeightsError(
        f"the output of layer '{layer}' is no feature map (channels, height, width) but {got}; "
        "choose one before the pooling"
    )


def _find_layers(backbone: torch.nn.Module, layers: Sequence[str]) -> dict[str, torch.nn.Module]:
    modules = dict(backbone.named_modules())
    if unknown := [layer for layer in layers if not layer or layer not in modules]:
        outer = [name for name, _ in backbone.named_children()]
        nested = [
            name
            for name, module in modules.items()
            if name.count(".") == 1 and any(module.children())
        ]
        close = [
            near
            for layer in unknown
            for near in difflib.get_close_matches(layer[:100], [*outer, *nested], n=2)
        ]
        names = " and no layer ".join(f"'{layer}'" for layer in unknown)
        raise WeightsError(
            f"the backbone has no layer {names}; it has {', '.join(outer + nested)}"
            + (f"; did you mean {', '.join(dict.fromkeys(close))}?" if close else "")
        )
    return {layer: modules[layer] for layer in layers}
