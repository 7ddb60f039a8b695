"""Batch normalisation folded into the convolution before it.

In eval mode batch normalisation is a fixed scale and shift per channel, which the convolution can
take over. Which convolution feeds which normalisation is observed on a probe image rather than
guessed from names, so that it works for any network; what is used otherwise stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights


@torch.no_grad()
def fold_batch_norms(network: torch.nn.Module, probe: torch.Tensor) -> int:
    """Fold the batch normalisations of a frozen network in place.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode. An activation that belongs to a normalisation (as in timm's `BatchNormAct2d`)
        stays.
    probe : Tensor, shape [1, 3, H, W]
        An input that the network accepts; what it does not reach is not folded.

    Returns
    -------
    int
        Number of normalisations that were folded.
    """
    pairs = _observe_pairs(network, probe)
    names = {module: name for name, module in network.named_modules()}
    for normalisation, convolution in pairs.items():
        statistics: Any = normalisation
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            statistics.running_mean,
            statistics.running_var,
            statistics.eps,
            statistics.weight,
            statistics.bias,
        )
        convolution.weight = torch.nn.Parameter(weight.detach(), requires_grad=False)
        convolution.bias = torch.nn.Parameter(bias.detach(), requires_grad=False)
        parent, _, own = names[normalisation].rpartition(".")
        setattr(network.get_submodule(parent), own, _activation_of(normalisation))
    return len(pairs)


def _observe_pairs(
    network: torch.nn.Module, probe: torch.Tensor
) -> dict[torch.nn.BatchNorm2d, torch.nn.Conv2d]:
    """Find the normalisations whose input is one convolution's output and nobody else's input."""
    producer: dict[int, torch.nn.Conv2d] = {}
    consumers: dict[int, list[torch.nn.Module]] = {}
    runs: dict[torch.nn.Module, int] = {}
    kept_alive: list[Any] = []

    def observe(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        kept_alive.extend([inputs, output])
        runs[module] = runs.get(module, 0) + 1
        for value in inputs:
            consumers.setdefault(id(value), []).append(module)
        if isinstance(module, torch.nn.Conv2d):
            producer[id(output)] = module

    leaves = [module for module in network.modules() if _is_leaf(module)]
    handles = [module.register_forward_hook(observe) for module in leaves]
    try:
        network(probe)
    finally:
        for handle in handles:
            handle.remove()
    return {
        users[0]: producer[value]
        for value, users in consumers.items()
        if value in producer
        and len(users) == 1
        and isinstance(users[0], torch.nn.BatchNorm2d)
        and users[0].running_mean is not None
        and runs[users[0]] == runs[producer[value]] == 1
    }


def _is_leaf(module: torch.nn.Module) -> bool:
    """Whether a module computes itself; timm's normalisations hold their activation as a child."""
    return isinstance(module, torch.nn.BatchNorm2d) or not any(module.children())


def _activation_of(normalisation: torch.nn.Module) -> torch.nn.Module:
    """Return what a normalisation does after normalising: nothing, or timm's activation."""
    activation: torch.nn.Module = getattr(normalisation, "act", torch.nn.Identity())
    return activation
