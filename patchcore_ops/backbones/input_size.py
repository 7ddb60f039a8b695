"""Networks that are made for images of one size, made for another, and weights to go with that.

Of most transformers a part has as many rows as an image has patches: position embeddings, tables of
relative positions. timm makes such networks for any size that suits their patches (`img_size`), and
knows how each network's weights are resized.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch

from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.runtime.errors import WeightsError

State = Mapping[str, torch.Tensor]


def size_options(
    name: str, imagesize: int | tuple[int, int] | None
) -> dict[str, int | tuple[int, int]]:
    """Return what `timm.create_model` is to be given for images of a size.

    Raises WeightsError if the network's patches do not divide the images, the rest of which it
    would not see.
    """
    own = _own_size(name)
    if imagesize is None or own is None or own == imagesize:
        return {}
    network = _made_for(name, imagesize)
    if network is None:
        return {}
    patch = _patch_size(network)
    sides = height_and_width(imagesize)
    if odd := [side for side in sides if side % patch]:
        nearest = max(odd[0] // patch, 1) * patch
        instead = "" if sides[0] == sides[1] else f" instead of {odd[0]}"
        raise WeightsError(
            f"'{name}' cannot take images of {sides[0]} x {sides[1]} pixels (its patches have "
            f"{patch}); change dataset.imagesize, to {nearest} or {nearest + patch}{instead}, or "
            "choose another backbone"
        )
    return {"img_size": imagesize}


def resize_state(state: State, network: torch.nn.Module, name: str) -> State | None:
    """Resize what depends on the image size in weights that were saved for another."""
    misfits = _misfits(state, network)
    if not misfits or not misfits <= _depends_on_the_size(name):
        return state
    try:
        # Public functions of timm's model modules, which its own loading calls.
        resize = sys.modules[type(network).__module__].checkpoint_filter_fn
        resized = resize(dict(state), network)
        fitting = {**state, **{key: resized[key] for key in misfits}}
    except Exception:
        # There is none, or it expects tensors of another kind.
        return None
    return None if _misfits(fitting, network) else fitting


def _misfits(state: State, network: torch.nn.Module) -> set[str]:
    own = network.state_dict()
    return {key for key in state if key in own and state[key].shape != own[key].shape}


def _own_size(name: str) -> int | None:
    """Return the side of the images that a network is made for, None if it takes any."""
    from timm.models import get_pretrained_cfg

    configuration = get_pretrained_cfg(name)
    if configuration is None or not configuration.fixed_input_size:
        return None
    return int(configuration.input_size[-1])


def _made_for(name: str, imagesize: int | tuple[int, int]) -> torch.nn.Module | None:
    """Make a network without weights for images of a size; None where timm cannot."""
    try:
        network: torch.nn.Module = timm.create_model(name, pretrained=False, img_size=imagesize)
    except Exception:
        # Each network says in its own way that it does not have the option, or not this value.
        return None
    return network


def _patch_size(network: Any) -> int:
    """Return the side of a network's patches; 1 if it has none."""
    size = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(size if isinstance(size, int) else size[0])


def _depends_on_the_size(name: str) -> set[str]:
    """Name the tensors that have another shape in the same network for larger images."""
    own_size = _own_size(name)
    if own_size is None:
        return set()
    shapes = []
    for side in (own_size, 2 * own_size):
        network = _made_for(name, side)
        state = {} if network is None else network.state_dict()
        shapes.append({key: value.shape for key, value in state.items()})
    return {key for key, shape in shapes[0].items() if shapes[1].get(key, shape) != shape}
