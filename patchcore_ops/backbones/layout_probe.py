"""Finds the layout of a layer's output by looking where known changes of an image show.

A few images differ from a first one in a small square each. Of all layouts that an output may have,
the right one shows the change where the square is. The squares lie so that a map that is
transposed, mirrored, shifted by some tokens or in another order shows them elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from patchcore_ops.backbones.feature_layout import FeatureLayout, candidates, tensors_of
from patchcore_ops.runtime.errors import WeightsError

# Rows and columns of the changes, as shares of the image's sides.
_PLACES = ((0.2, 0.7), (0.75, 0.3), (0.6, 0.85))
_SIDE_OF_CHANGE = 1 / 14
# In units of normalised pixels, of which images have some -2 to 3.
_NOISE, _CHANGE = 0.3, 2.0
# How far from its place a change may show: what cells leave open, or a share of the sides.
_CELLS, _SHARE = 1.5, 0.14
# Reach of the blur, as a share of the sides.
_BLUR = 0.15


def probe_images(images: torch.Tensor, look: int = 0) -> torch.Tensor:
    """Return noise, and the same noise with a change in each of some places."""
    height, width = images.shape[2:]
    noise = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(look)) * _NOISE
    probe = noise.repeat(1 + len(_PLACES), 1, 1, 1)
    for changed, (row, column) in zip(probe[1:], _PLACES, strict=True):
        brighter = _CHANGE if look % 2 == 0 else -_CHANGE
        changed[:, _around(row, height), _around(column, width)] += brighter
    return probe.to(images.device, images.dtype)


class LayoutSearch:
    """Decides how a layer's output is laid out.

    Raises WeightsError if the output is no map, whatever its layout.
    """

    def __init__(self, layer: str, output: Any, probe: torch.Tensor, network: Any) -> None:
        self.layer = layer
        self._output = output
        self._possible = list(candidates(output, probe, network))
        if not self._possible:
            raise _no_map(layer, output)
        self._shown = [_shown(output, layout) for layout in self._possible]

    def look_again(self, output: Any) -> None:
        """Add what the layer gave for another probe."""
        self._shown = [
            shown + _shown(output, layout)
            for layout, shown in zip(self._possible, self._shown, strict=True)
        ]

    def found(self) -> FeatureLayout | None:
        """Return the layout in which changes show where they are, None if there is none.

        Of several tensors in an output, the first that is a map counts.
        """
        near: dict[FeatureLayout, float] = {}
        for layout, shown in zip(self._possible, self._shown, strict=True):
            if near and layout.part != next(iter(near)).part:
                break
            distance = _distance(shown)
            if distance <= 1:
                near[layout] = distance
        return min(near, key=near.__getitem__) if near else None

    def refusal(self) -> WeightsError:
        """Say why there is none."""
        return _not_shown(self.layer, self._output, self._possible)


def _around(place: float, side: int) -> slice:
    half = int(side * _SIDE_OF_CHANGE) // 2
    return slice(max(int(place * side) - half, 0), int(place * side) + half + 1)


@torch.no_grad()
def _shown(output: Any, layout: FeatureLayout) -> torch.Tensor:
    """Return for each change the share that each cell has in what it changes: [places, h, w]."""
    maps = layout.to_map(layout.tensor_of(output)).float()
    change = maps[1:] - maps[:1]
    # Without a change, or with one that is not finite, the shares are NaN.
    change = change / change.abs().amax(dim=(1, 2, 3), keepdim=True)
    squares = change.square().sum(dim=1).cpu()
    return squares / squares.sum(dim=(1, 2), keepdim=True)


def _distance(shown: torch.Tensor) -> float:
    """Say how far from its place a change shows at worst; 1 is as far as it may be."""
    if not bool(shown.isfinite().all()):
        return float("inf")
    # As it is; without what the cells answer to changes elsewhere; and, where much of the image
    # changes with each pixel, the middle of that.
    own = shown - (shown.sum(dim=0) - shown) / (len(shown) - 1)
    return min(_farthest(shown), _farthest(own), _farthest(_blurred(own)))


def _farthest(shown: torch.Tensor) -> float:
    """Compare the cells where changes show most with the places."""
    sides = torch.tensor(shown.shape[1:])
    cells = shown.flatten(1).argmax(dim=1)
    positions = torch.stack([cells // sides[1], cells % sides[1]], dim=1)
    away = ((positions + 0.5) / sides - torch.tensor(_PLACES)).abs()
    return float((away / (_CELLS / sides).clamp(min=_SHARE)).max())


def _blurred(shown: torch.Tensor) -> torch.Tensor:
    """Average over neighbouring cells, the nearer the more."""
    reach = [int(side * _BLUR) for side in shown.shape[1:]]
    for _ in range(2):
        shown = F.avg_pool2d(shown, [2 * part + 1 for part in reach], stride=1, padding=reach)
    return shown


def _no_map(layer: str, output: Any) -> WeightsError:
    tensors = [tensor for _, tensor in tensors_of(output)]
    if any(tensor.ndim in (3, 4) and tensor.numel() == 0 for tensor in tensors):
        return WeightsError(
            f"layer '{layer}' gives an empty grid for images of this size; raise "
            "dataset.imagesize, or choose an earlier layer"
        )
    return WeightsError(
        f"the output of layer '{layer}' is no feature map (channels, height, width) but "
        f"{_shapes(output)}; choose one before the pooling"
    )


def _not_shown(layer: str, output: Any, possible: list[FeatureLayout]) -> WeightsError:
    tensors = [layout.tensor_of(output) for layout in possible]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        return WeightsError(
            f"layer '{layer}' gives NaN or infinity for an image of noise; the weights are damaged "
            "or do not belong to this network"
        )
    if all(bool((tensor == tensor[:1]).all()) for tensor in tensors):
        return WeightsError(
            f"layer '{layer}' gives the same for different images; the weights are damaged or "
            "were never trained, or the layer does not depend on the image: choose another"
        )
    return WeightsError(
        f"layer '{layer}' gives {_shapes(output)}, in which a change at one place of the image "
        "does not show at that place, in whatever order it is read; choose an earlier layer, "
        "or the block that this one belongs to"
    )


def _shapes(output: Any) -> str:
    """Write down the shape of an image's output, or what it is instead."""
    shapes = [str(list(tensor.shape[1:])) for _, tensor in tensors_of(output)]
    if not shapes:
        return type(output).__name__
    return " and ".join(shapes[:4]) + (", ..." if len(shapes) > 4 else "")
