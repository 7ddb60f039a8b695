"""Batch normalisation folded into the convolution before it.

In eval mode batch normalisation is a fixed scale and shift per channel, which the convolution can
take over. Which convolution feeds which normalisation is observed rather than guessed from names,
so that it works for any network; what is used otherwise stays as it is, as does a convolution whose
own output is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights

from patchcore_ops.probing import ObservedRun, replace_module


@torch.no_grad()
def fold_batch_norms(
    network: torch.nn.Module,
    run: ObservedRun,
    wanted: Collection[torch.nn.Module] = (),
    outputs: Iterable[torch.Tensor] = (),
) -> int:
    """Fold the batch normalisations of a frozen network in place.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode. An activation that belongs to a normalisation (as in timm's `BatchNormAct2d`)
        stays.
    run : ObservedRun
        Of this network; what it does not reach is not folded.
    wanted : collection of Module
        Modules that must remain: no normalisation is folded that holds one.
    outputs : iterable of Tensor
        Outputs of that run that must remain what they are: no convolution changes that gave one.

    Returns
    -------
    int
        Number of normalisations that were folded.
    """
    kept = {_memory(output) for output in outputs}
    pairs = {
        normalisation: convolution
        for normalisation, (convolution, convolved) in _pairs(run).items()
        if _memory(convolved) not in kept
        and not any(module in wanted for module in _inside(normalisation))
    }
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
        replace_module(network, normalisation, _activation_of(normalisation))
    return len(pairs)


def _pairs(
    run: ObservedRun,
) -> dict[torch.nn.BatchNorm2d, tuple[torch.nn.Conv2d, torch.Tensor]]:
    """Find the normalisations whose input is one convolution's output and nobody else's input."""
    pairs = {}
    for value, users in run.consumers.items():
        convolution, user = run.producer.get(value), users[0]
        if (
            isinstance(convolution, torch.nn.Conv2d)
            and len(users) == 1
            and isinstance(user, torch.nn.BatchNorm2d)
            and user.running_mean is not None
            and run.runs[user] == run.runs[convolution] == 1
        ):
            pairs[user] = convolution, run.values[value]
    return pairs


def _activation_of(normalisation: torch.nn.Module) -> torch.nn.Module:
    """Return what a normalisation does after normalising: nothing, or timm's activation."""
    activation: torch.nn.Module = getattr(normalisation, "act", torch.nn.Identity())
    return activation


def _memory(tensor: torch.Tensor) -> int:
    """Tell tensors with memory of their own apart; a view has that of what it shows."""
    return tensor.untyped_storage().data_ptr()


def _inside(module: torch.nn.Module) -> Iterable[torch.nn.Module]:
    return (part for part in module.modules() if part is not module)
