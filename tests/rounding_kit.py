"""How far float32 may be from the exact result, by the format and the length of the sums alone.

Nothing here asks a float32 kernel: which one a processor picks, and in which order that adds, must
not decide a test.
"""

from __future__ import annotations

import copy
import math
from typing import Any, TypeVar

import torch

# The unit roundoff of float32: what one operation is off by, relative to its result.
UNIT = 2.0**-24
Number = TypeVar("Number", bound=Any)


def sum_bound(terms: int, magnitudes: Number) -> Number:
    """Bound the error of sums of products, in whatever order they are added.

    Each term passes through `terms` roundings at most (Higham, "Accuracy and Stability of Numerical
    Algorithms", 3.1). Two more are for the formats of the operands and of the result.

    Parameters
    ----------
    terms : int
        Products in a sum.
    magnitudes : array, Tensor or float
        The sums of the products' absolute values.
    """
    return (terms + 2) * UNIT * magnitudes


def rounded_as_float32(network: torch.nn.Module) -> torch.nn.Module:
    """Copy a network to float64, where it rounds each layer's outputs as float32 sums are rounded.

    Roundings are independent, so that a sum of n terms is typically off by sqrt(n) units, and at
    most by that where a kernel adds blocks.
    """
    generator = torch.Generator().manual_seed(2)

    def disturb(module: torch.nn.Module, _: object, outputs: object) -> object:
        if not isinstance(outputs, torch.Tensor):
            return outputs
        summing = isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
        terms = module.weight[0].numel() if summing else 1  # type: ignore[index, operator]
        noise = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
        return outputs * (1 + UNIT * math.sqrt(terms) * noise)

    disturbed = copy.deepcopy(network).double()
    for module in disturbed.modules():
        if not any(module.children()):
            module.register_forward_hook(disturb)
    return disturbed
