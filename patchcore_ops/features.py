"""Feature maps of chosen layers, from a backbone that runs no deeper than it must."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from patchcore_ops.errors import WeightsError
from patchcore_ops.feature_layout import FeatureLayout, tensors_of
from patchcore_ops.layout_probe import LayoutSearch, probe_images

_LOOKS = 8


class _AllLayersSeen(Exception):
    """Unwinds the backbone's forward pass once every wanted layer has produced its output."""


class FeatureExtractor(torch.nn.Module):
    """Collects the maps of named layers and stops the forward pass after the last of them.

    Several threads may call it at once.

    Parameters
    ----------
    backbone : torch.nn.Module
        Any network; it is not copied.
    layers : sequence of str
        Module names, dotted where nested (`layer2`, `features.denseblock2`, `blocks.2`).
    layouts : mapping of str to FeatureLayout, optional
        How the layers' outputs are laid out, from `find_layouts`. By default that is found out on a
        few images of its own when images of a size come for the first time.

    Raises
    ------
    WeightsError
        If a layer does not exist; the message lists the layers that do.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        layers: Sequence[str],
        layouts: Mapping[str, FeatureLayout] | None = None,
    ) -> None:
        super().__init__()
        self.outputs = LayerOutputs(backbone, layers)
        self._layouts = layouts
        self._layouts_by_size: dict[tuple[int, ...], Mapping[str, FeatureLayout]] = {}
        self._looking = threading.Lock()

    @property
    def backbone(self) -> torch.nn.Module:
        """The network."""
        return self.outputs.backbone

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' names."""
        return self.outputs.layers

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Run the backbone on normalised images.

        Parameters
        ----------
        images : Tensor of float32, shape [B, 3, H, W]

        Returns
        -------
        list of Tensor, shape [B, C, h, w]
            One per layer, in the order of `layers`. A cell shows what is at its place in the image.

        Raises
        ------
        WeightsError
            If a layer never runs, or its output is no map of the image.
        """
        layouts = self._layouts or self._look(images)
        overwritten = {layer for layer, layout in layouts.items() if layout.is_overwritten}
        outputs = self.outputs(images, copied=overwritten)
        return [
            layouts[layer].to_map(layouts[layer].tensor_of(outputs[layer])) for layer in self.layers
        ]

    @torch.no_grad()
    def find_layouts(self, images: torch.Tensor) -> dict[str, FeatureLayout]:
        """Find out how the layers' outputs are laid out, by looking where changes show.

        Parameters
        ----------
        images : Tensor of floating point, shape [B, C, H, W]
            Of which only the shape, the type and the device count.

        Raises
        ------
        WeightsError
            As `forward`.
        """
        probe = probe_images(images)
        given: dict[str, Any] = {}
        copies = self.outputs(probe, copied=self.layers, originals=given)
        searches = [
            LayoutSearch(layer, copies[layer], probe, self.backbone) for layer in self.layers
        ]
        # Mostly one look is enough. Where random weights, or attention, spread a change over the
        # whole image, it shows in the mean of several.
        for look in range(1, _LOOKS):
            missing = [search for search in searches if search.found() is None]
            if not missing:
                break
            again = self.outputs(probe_images(images, look), copied=self.layers)
            for search in missing:
                search.look_again(again[search.layer])
        layouts = {}
        for search in searches:
            layout = search.found()
            if layout is None:
                raise search.refusal()
            layouts[search.layer] = replace(
                layout,
                is_overwritten=not _are_equal(copies[search.layer], given[search.layer]),
            )
        return layouts

    def _look(self, images: torch.Tensor) -> Mapping[str, FeatureLayout]:
        size = tuple(images.shape[1:])
        with self._looking:
            if size not in self._layouts_by_size:
                self._layouts_by_size[size] = self.find_layouts(images)
            return self._layouts_by_size[size]


class LayerOutputs(torch.nn.Module):
    """Collects what named layers give, as it is, and stops the forward pass after the last of them.

    Parameters
    ----------
    backbone : torch.nn.Module
    layers : sequence of str

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
            module.register_forward_hook(_collector(layer, self._of_thread))

    def forward(
        self,
        images: torch.Tensor,
        copied: Collection[str] = (),
        originals: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run the backbone.

        Parameters
        ----------
        images : Tensor of float32, shape [B, 3, H, W]
        copied : collection of str
            Layers whose output is to be copied at once, because the network overwrites it later.
        originals : dict, optional
            Filled with the outputs themselves, which the network may have overwritten.

        Returns
        -------
        dict of str to object
            The output of each layer; of one that runs several times, the first.
        """
        call = _Call(len(self.layers), copied, {}, originals if originals is not None else {})
        self._of_thread.call = call
        try:
            self.backbone(images)
        except _AllLayersSeen:
            pass
        finally:
            del self._of_thread.call
        if len(call.outputs) < len(self.layers):
            unused = ", ".join(layer for layer in self.layers if layer not in call.outputs)
            raise WeightsError(f"the backbone never runs its layer {unused}; choose another")
        return call.outputs


@dataclass
class _Call:
    """What one call of a backbone is to collect, and has collected."""

    wanted: int
    copied: Collection[str]
    outputs: dict[str, Any]
    originals: dict[str, Any]


def _collector(layer: str, of_thread: threading.local) -> Any:
    """Return the hook of a layer; it does nothing unless its extractor is called in this thread."""

    def collect(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        call: _Call | None = getattr(of_thread, "call", None)
        if call is None or layer in call.outputs:
            return
        call.originals[layer] = output
        call.outputs[layer] = _copy(output) if layer in call.copied else output
        # What traces a network for its export goes to the end, and drops what nobody asks for.
        if len(call.outputs) == call.wanted and not torch.compiler.is_exporting():
            raise _AllLayersSeen

    return collect


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


def _are_equal(output: Any, other: Any) -> bool:
    pairs = zip(tensors_of(output), tensors_of(other), strict=True)
    return all(torch.equal(tensor, same) for (_, tensor), (_, same) in pairs)


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
