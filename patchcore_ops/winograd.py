"""3 x 3 convolutions with a half to a quarter of the multiplications (Winograd's algorithm).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016): a tile of m x m
outputs depends on (m + 2) x (m + 2) inputs. Both, and the kernel, are mapped to (m + 2)^2 values in
which the convolution is one product over the channels each, instead of nine for each output. The
maps to and fro are small fixed matrices, applied to all tiles at once. What remains are matrix
products. A convolution of 256 channels is off by 4e-7 of its output's norm for m = 2, by 2e-6 for
m = 4, and by 2e-7 to 8e-7 as torch computes it, depending on the processor.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from patchcore_ops.probing import ObservedRun, answer_as, replace_each

# With fewer channels, the maps to and fro cost what the products save.
_FEWEST_CHANNELS = 256
_Matrix = npt.NDArray[np.float64]
# Of the input, the kernel and the output, by side of a tile of outputs.
_MAPS: dict[int, tuple[_Matrix, _Matrix, _Matrix]] = {
    2: (
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], dtype=float),
        np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        np.array([[1, 1, 1, 0], [0, 1, -1, -1]], dtype=float),
    ),
    4: (
        np.array(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ],
            dtype=float,
        ),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array(
            [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
            dtype=float,
        ),
    ),
}


@torch.no_grad()
def use_winograd(network: torch.nn.Module, run: ObservedRun) -> int:
    """Replace a frozen network's large 3 x 3 convolutions, in place.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode, in float32.
    run : ObservedRun
        Of this network, on an input of the size that it will be given.

    Returns
    -------
    int
        Number of convolutions that were replaced.
    """
    return replace_each(network, run, _quick)


def _quick(module: torch.nn.Module, sides: tuple[int, int]) -> WinogradConvolution | None:
    if not _suits(module):
        return None
    return WinogradConvolution(module, _tile_side(sides))  # type: ignore[arg-type]


class WinogradConvolution(torch.nn.Module):
    """A 3 x 3 convolution with stride 1 and padding 1, of channels-last maps of any size.

    Parameters
    ----------
    convolution : torch.nn.Conv2d
        Whose weights are taken over.
    tile_side : int
        m, 2 or 4.
    """

    kernels: torch.Tensor
    bias: torch.Tensor
    into: torch.Tensor
    out_of: torch.Tensor

    def __init__(self, convolution: torch.nn.Conv2d, tile_side: int) -> None:
        super().__init__()
        self._side = tile_side
        of_input, of_kernel, of_output = _MAPS[tile_side]
        taps = convolution.weight.permute(2, 3, 1, 0)
        kernels = _for_tiles(of_kernel).float() @ taps.reshape(9, -1)
        self.register_buffer("kernels", kernels.view(-1, *taps.shape[2:]))
        self.register_buffer("into", _for_tiles(of_input).float())
        self.register_buffer("out_of", _for_tiles(of_output).float())
        answer_as(self, convolution)
        bias = convolution.bias
        self.register_buffer("bias", torch.zeros(taps.shape[3]) if bias is None else bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Convolve.

        Parameters
        ----------
        maps : Tensor of float32, shape [B, C, H, W]

        Returns
        -------
        Tensor of float32, shape [B, O, H, W], channels-last
        """
        batch, _, height, width = maps.shape
        side = self._side
        rows, columns = -(-height // side), -(-width // side)
        tiles = self._tiles(maps, rows, columns)
        # Tile by tile and channels last, small matrices find their operands in the cache; the
        # products want a point of all tiles at once, and take it from where it is.
        mapped = torch.bmm(self.into.expand(len(tiles), -1, -1), tiles)
        products = torch.bmm(mapped.transpose(0, 1), self.kernels)
        outputs = torch.bmm(self.out_of.expand(len(tiles), -1, -1), products.transpose(0, 1))
        whole = outputs.new_empty(batch, rows * side, columns * side, outputs.shape[2])
        parts = outputs.view(batch, rows, columns, side, side, -1).transpose(2, 3)
        torch.add(parts, self.bias, out=whole.view(parts.shape))
        return whole[:, :height, :width].contiguous().permute(0, 3, 1, 2)

    def _tiles(self, maps: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Cut overlapping tiles out of padded maps: [B * rows * columns, (m + 2)^2, C]."""
        side = self._side
        batch, channels, height, width = maps.shape
        beyond = (0, 0, 1, columns * side + 1 - width, 1, rows * side + 1 - height)
        padded = F.pad(maps.permute(0, 2, 3, 1), beyond)
        of_image, of_row, of_column, of_channel = padded.stride()
        overlapping = padded.as_strided(
            (batch, rows, columns, side + 2, side + 2, channels),
            (of_image, of_row * side, of_column * side, of_row, of_column, of_channel),
        )
        return overlapping.contiguous().view(-1, (side + 2) ** 2, channels)


def _for_tiles(matrix: _Matrix) -> torch.Tensor:
    """Return the map of a line as that of a square: of its rows and its columns at once."""
    return torch.from_numpy(np.kron(matrix, matrix))


def _suits(module: torch.nn.Module) -> bool:
    return (
        type(module) is torch.nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == module.dilation == (1, 1)
        and module.padding == (1, 1)
        and module.padding_mode == "zeros"
        and module.groups == 1
        and min(module.in_channels, module.out_channels) >= _FEWEST_CHANNELS
    )


def _tile_side(sides: tuple[int, int]) -> int:
    """Choose the tile with the fewest products for a map of this size.

    Tiles reach beyond a map whose sides are no multiples of theirs; smaller ones reach less far.
    """
    return min(_MAPS, key=lambda m: (m + 2) ** 2 * math.prod(-(-side // m) for side in sides))
