"""How a layer's output is laid out, and the map of the image that it holds.

Convolutional networks give maps (NCHW), others channels last (NHWC), and transformers give tokens:
row by row or in an order of their own, with or without others before them that stand for no place.
Shapes alone do not tell which it is: `candidates` names what it may be, `layout_probe` decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

Axes = Literal["NCHW", "NHWC", "NLC", "NCL"]
_MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """How the output of one layer becomes a map."""

    axes: Axes
    shape: tuple[int, int, int]
    part: tuple[int | str, ...] = ()
    prefix_tokens: int = 0
    order: torch.Tensor | None = None
    order_name: str = "row by row"

    def tensor_of(self, output: Any) -> torch.Tensor:
        """Take the tensor out of an output."""
        for key in self.part:
            output = output[key]
        tensor: torch.Tensor = output
        return tensor

    def to_map(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring the layer's tensor into [B, C, height, width]."""
        if self.axes == "NCHW":
            return tensor
        if self.axes == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        if self.axes == "NCL":
            tensor = tensor.transpose(1, 2)
        tokens = tensor.flatten(1, -2)[:, self.prefix_tokens :]
        if self.order is not None:
            tokens = tokens[:, self.order]
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *self.shape[1:])

    def __str__(self) -> str:
        """Name the layout for people."""
        element = f"element {'.'.join(map(str, self.part))}: " if self.part else ""
        if self.axes in ("NCHW", "NHWC"):
            return element + self.axes
        s = "s" if self.prefix_tokens > 1 else ""
        before = f" after {self.prefix_tokens} other{s}" if self.prefix_tokens else ""
        return f"{element}{self.axes}, tokens {self.order_name}{before}"


def tensors_of(
    output: Any, part: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], torch.Tensor]]:
    """Yield every tensor of an output, with the keys that lead to it."""
    if isinstance(output, torch.Tensor):
        yield part, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from tensors_of(value, (*part, key))
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for position, value in enumerate(output):
            yield from tensors_of(value, (*part, position))


def candidates(
    output: Any, images: torch.Tensor, network: torch.nn.Module
) -> Iterator[FeatureLayout]:
    """Yield every layout that an output may have by its shape."""
    for part, tensor in tensors_of(output):
        is_of_images = tensor.ndim in (3, 4) and len(tensor) == len(images)
        if is_of_images and tensor.is_floating_point() and tensor.numel() > 0:
            size = (images.shape[2], images.shape[3])
            for layout in _of_tensor(tensor, size, network):
                if _are_proportional(layout.shape[1:], size):
                    yield replace(layout, part=part)


def _are_proportional(grid: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a grid is as oblong as the image, or at most twice or half as much."""
    tall, wide = grid[0] * image[1], grid[1] * image[0]
    return max(tall, wide) <= 2 * min(tall, wide)


def _of_tensor(
    tensor: torch.Tensor, image: tuple[int, int], network: torch.nn.Module
) -> Iterator[FeatureLayout]:
    if tensor.ndim == 4:
        _, first, second, third = tensor.shape
        yield FeatureLayout("NCHW", (first, second, third))
        yield FeatureLayout("NHWC", (third, first, second))
        yield from _in_blocks(tensor)
        return
    prefixes = int(getattr(network, "num_prefix_tokens", 0))
    axes: Axes
    _, first, last = tensor.shape
    for axes, tokens, channels in (("NLC", first, last), ("NCL", last, first)):
        for prefix, grid in _grids(tokens, image, prefixes):
            yield FeatureLayout(axes, (channels, *grid), prefix_tokens=prefix)
    yield from _in_the_networks_order(tensor, network)


def _grids(
    tokens: int, image: tuple[int, int], known_prefix_tokens: int
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Look for grids of the image's proportions in a number of tokens, each after some others."""
    largest = _largest_grid(tokens, image)
    grids = {tokens - math.prod(largest): largest}
    if known_prefix_tokens < tokens:
        rest = _largest_grid(tokens - known_prefix_tokens, image)
        grids.setdefault(tokens - math.prod(rest), rest)
    for prefix, grid in grids.items():
        # A single token stands for the whole image, not for a place.
        if prefix <= _MOST_PREFIX_TOKENS and math.prod(grid) > 1:
            yield prefix, grid


def _largest_grid(tokens: int, image: tuple[int, int]) -> tuple[int, int]:
    height = math.isqrt(tokens * image[0] // image[1])
    return height, height * image[1] // image[0]


def _in_blocks(tensor: torch.Tensor) -> Iterator[FeatureLayout]:
    """Squares of tokens, each row by row, and the squares row by row, as NesT has them."""
    _, blocks, tokens, channels = tensor.shape
    across, side = math.isqrt(blocks), math.isqrt(tokens)
    if across > 1 and side > 1 and across**2 == blocks and side**2 == tokens:
        numbers = torch.arange(blocks * tokens, device=tensor.device)
        order = numbers.view(across, across, side, side).transpose(1, 2).flatten()
        shape = (channels, across * side, across * side)
        yield FeatureLayout("NLC", shape, order=order, order_name=f"in {blocks} blocks")


def _in_the_networks_order(
    tensor: torch.Tensor, network: torch.nn.Module
) -> Iterator[FeatureLayout]:
    """Ask a network that reorders its tokens for the order at each of its blocks."""
    reroll = getattr(network, "reroll", None)
    if not callable(reroll):
        return
    numbers = torch.arange(tensor.shape[1], device=tensor.device).view(1, -1, 1)
    for block in range(len(getattr(network, "blocks", ()))):
        try:
            rerolled = reroll(numbers, block)
        except (RuntimeError, ValueError, LookupError):
            continue  # There are as many tokens at another block.
        if rerolled.ndim == 4 and rerolled.numel() == numbers.numel():
            shape = (tensor.shape[2], rerolled.shape[1], rerolled.shape[2])
            name = f"in the network's order at block {block}"
            yield FeatureLayout("NLC", shape, order=rerolled.flatten(), order_name=name)
