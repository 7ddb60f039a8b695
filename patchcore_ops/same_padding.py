"""Convolutions that pad "the same" amount, which may be uneven, made into ones that pad evenly.

Networks that come from TensorFlow pad by what the input's size asks for, and where that is an odd
number one side gets more. torch's convolutions cannot, so timm copies the whole input into a larger
one first, which takes a fifth of EfficientNet-lite0's time. A convolution whose kernel starts with
a row and a column of zeros gives the same from evenly padded input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from patchcore_ops.probing import ObservedRun, replace_each


@torch.no_grad()
def pad_evenly(network: torch.nn.Module, run: ObservedRun) -> int:
    """Replace a frozen network's convolutions that pad by their input's size, in place.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode. From now on it is right for inputs of the observed size only.
    run : ObservedRun
        Of this network; what it does not reach is not replaced.

    Returns
    -------
    int
        Number of convolutions that were replaced.
    """
    from timm.layers.conv2d_same import Conv2dSame

    def even(module: torch.nn.Module, sides: tuple[int, int]) -> torch.nn.Conv2d | None:
        # Nothing that derives from it: such classes compute otherwise.
        return _evenly_padded(module, sides) if type(module) is Conv2dSame else None

    return replace_each(network, run, even)


def _evenly_padded(convolution: torch.nn.Conv2d, sides: tuple[int, int]) -> torch.nn.Conv2d | None:
    """Return the same convolution of inputs of a size, None where zeros in the kernel cannot."""
    padding, growth = [], []
    for side, kernel, stride, dilation in zip(
        sides, convolution.kernel_size, convolution.stride, convolution.dilation, strict=True
    ):
        reach = (kernel - 1) * dilation + 1
        total = max((-(-side // stride) - 1) * stride + reach - side, 0)
        if total % 2 % dilation:
            return None
        padding.append(total - total // 2)
        growth.append(total % 2)
    even = torch.nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        tuple(convolution.kernel_size[axis] + growth[axis] for axis in range(2)),  # type: ignore[arg-type]
        stride=convolution.stride,  # type: ignore[arg-type]
        padding=tuple(padding),  # type: ignore[arg-type]
        dilation=convolution.dilation,  # type: ignore[arg-type]
        groups=convolution.groups,
        device="meta",
    )
    weight = F.pad(convolution.weight, (growth[1], 0, growth[0], 0))
    even.weight = torch.nn.Parameter(weight, requires_grad=False)
    even.bias = convolution.bias
    return even.train(mode=False)
