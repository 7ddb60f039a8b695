"""Convolutions whose weights lie in memory as the processor's library reads them.

torch computes convolutions on CPUs with oneDNN, which brings the weights into blocks of its own
before each call. Those of a large network are a hundred megabytes, for each batch of a few images.
Brought there once, they are read from where they are; what is computed with them stays the same.
"""

from __future__ import annotations

import torch

from patchcore_ops.probing import ObservedRun, answer_as, replace_each

# Which blocks are best depends on it. For a batch of another size oneDNN may make others, as it
# would have anyway.
_IMAGES_PER_CALL = 4


@torch.no_grad()
def pack_weights(network: torch.nn.Module, run: ObservedRun) -> int:
    """Replace a frozen network's convolutions by packed ones, in place.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode, in float32, on a CPU, in channels-last memory.
    run : ObservedRun
        Of this network, on an input of the size that it will be given.

    Returns
    -------
    int
        Number of convolutions that were replaced; 0 where torch was built without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    return replace_each(network, run, _packed)


def _packed(module: torch.nn.Module, sides: tuple[int, int]) -> PackedConvolution | None:
    if not _suits(module):
        return None
    return PackedConvolution(module, sides)  # type: ignore[arg-type]


class PackedConvolution(torch.nn.Module):
    """A convolution with zero padding, in oneDNN's form.

    Parameters
    ----------
    convolution : torch.nn.Conv2d
        Whose weights are taken over.
    sides : (int, int)
        Height and width of the maps that it will be given; others are convolved as correctly.
    """

    bias: torch.Tensor | None

    def __init__(self, convolution: torch.nn.Conv2d, sides: tuple[int, int]) -> None:
        super().__init__()
        self._geometry = (
            convolution.padding,
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )
        # No buffer: what moves or copies a module's buffers cannot do so with such a tensor.
        self._weight = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]
            convolution.weight.contiguous().to_mkldnn(),
            *self._geometry,  # type: ignore[arg-type]
            (_IMAGES_PER_CALL, convolution.in_channels, *sides),
        )
        self.register_buffer("bias", convolution.bias)
        answer_as(self, convolution)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Convolve.

        Parameters
        ----------
        maps : Tensor of float32, shape [B, C, H, W], channels-last

        Returns
        -------
        Tensor of float32, shape [B, O, h, w], channels-last
        """
        convolved: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, self._weight, self.bias, *self._geometry, "none", [], ""
        )
        return convolved


def _suits(module: torch.nn.Module) -> bool:
    """Whether this is a plain convolution; a depthwise one has few weights."""
    return (
        type(module) is torch.nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.groups == 1
    )
