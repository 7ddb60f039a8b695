"""Feature maps of chosen layers, from a backbone that runs no deeper than it must."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from patchcore_ops.backbones.feature_layout import FeatureLayout
from patchcore_ops.backbones.layout_probe import LayoutSearch, probe_images
from patchcore_ops.runtime.errors import WeightsError

_LOOKS = 8


class _AllLayersSeen(Exception):
    """Unwinds the backbone's forward pass once every wanted layer has produced its output."""


class FeatureExtractor(torch.nn.Module):
    """Collects the maps of named layers and stops the forward pass after the last of them.

    Raises WeightsError if a layer does not exist; the message lists the layers that do.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        layers: Sequence[str],
        layouts: Mapping[str, FeatureLayout] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = tuple(layers)
        self._modules_of_layers = _find_layers(backbone, self.layers)
        self._layouts = layouts

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Run the backbone on normalised images.

        Raises WeightsError if a layer never runs, or its output is no map of the image.
        """
        layouts = self._layouts or self.find_layouts(images)
        outputs = self._outputs(images)
        return [
            layouts[layer].to_map(layouts[layer].tensor_of(outputs[layer])) for layer in self.layers
        ]

    @torch.no_grad()
    def find_layouts(self, images: torch.Tensor) -> dict[str, FeatureLayout]:
        """Find out how the layers' outputs are laid out, by looking where changes show.

        Raises WeightsError as `forward`.
        """
        probe = probe_images(images)
        outputs = self._outputs(probe)
        searches = [
            LayoutSearch(layer, outputs[layer], probe, self.backbone) for layer in self.layers
        ]
        # Mostly one look is enough. Where random weights, or attention, spread a change over the
        # whole image, it shows in the mean of several.
        for look in range(1, _LOOKS):
            missing = [search for search in searches if search.found() is None]
            if not missing:
                break
            again = self._outputs(probe_images(images, look))
            for search in missing:
                search.look_again(again[search.layer])
        layouts = {}
        for search in searches:
            layout = search.found()
            if layout is None:
                raise search.refusal()
            layouts[search.layer] = layout
        return layouts

    def _outputs(self, images: torch.Tensor) -> dict[str, Any]:
        """Run the backbone: the output of each layer; of one that runs several times, the first."""
        outputs: dict[str, Any] = {}

        def collect(layer: str, _module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            if layer in outputs:
                return
            # At once, for the network may go on to change it in place.
            outputs[layer] = _copy(output)
            # What traces the network goes to the end, and drops what nobody asks for.
            if len(outputs) == len(self.layers) and not torch.compiler.is_exporting():
                raise _AllLayersSeen

        hooks = [
            module.register_forward_hook(partial(collect, layer))
            for layer, module in self._modules_of_layers.items()
        ]
        try:
            self.backbone(images)
        except _AllLayersSeen:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        if len(outputs) < len(self.layers):
            unused = ", ".join(layer for layer in self.layers if layer not in outputs)
            raise WeightsError(f"the backbone never runs its layer {unused}; choose another")
        return outputs


def _copy(output: Any) -> Any:
    """Copy the tensors of an output and what holds them."""
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, Mapping):
        return {key: _copy(value) for key, value in output.items()}
    if isinstance(output, tuple):
        return tuple(_copy(value) for value in output)
    if isinstance(output, list):
        return [_copy(value) for value in output]
    return output


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
