"""How a network's modules hang together, observed on one run rather than guessed from names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

_GEOMETRY = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
)


@dataclass
class ObservedRun:
    """What the modules that compute have been given, and have given.

    Tensors are told apart by their `id`, which is unique as long as this object lives.

    Attributes
    ----------
    runs : dict of module to int
        How often each module ran; those that did not are missing.
    inputs : dict of module to list of tuple of int
        The shapes of the tensors that were each module's first argument.
    producer : dict of int to module
        Which module a tensor comes from.
    consumers : dict of int to list of module
        Which modules a tensor was given to.
    values : dict of int to object
        What the modules gave: mostly tensors.
    output : object
        What the network gave.
    """

    runs: dict[torch.nn.Module, int] = field(default_factory=dict)
    inputs: dict[torch.nn.Module, list[tuple[int, ...]]] = field(default_factory=dict)
    producer: dict[int, torch.nn.Module] = field(default_factory=dict)
    consumers: dict[int, list[torch.nn.Module]] = field(default_factory=dict)
    values: dict[int, Any] = field(default_factory=dict)
    output: Any = None
    _kept_alive: list[Any] = field(default_factory=list)

    def input_sides(self, module: torch.nn.Module) -> tuple[int, int] | None:
        """Return height and width of a module's input, None unless it was given one size only."""
        sides = {shape[2:] for shape in self.inputs.get(module, []) if len(shape) == 4}
        if len(sides) != 1:
            return None
        height, width = sides.pop()
        return height, width

    def note(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        """Take down one call of a module; a forward hook."""
        self._kept_alive.append(inputs)
        self.runs[module] = self.runs.get(module, 0) + 1
        self.producer[id(output)] = module
        self.values[id(output)] = output
        for value in inputs:
            self.consumers.setdefault(id(value), []).append(module)
        if inputs and isinstance(inputs[0], torch.Tensor):
            self.inputs.setdefault(module, []).append(tuple(inputs[0].shape))


@torch.no_grad()
def observe(network: torch.nn.Module, probe: torch.Tensor) -> ObservedRun:
    """Run a network once and take down what its innermost modules do.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    probe : Tensor, shape [1, 3, H, W]
        An input that the network accepts.
    """
    run = ObservedRun()
    handles = [
        module.register_forward_hook(run.note) for module in network.modules() if _is_leaf(module)
    ]
    try:
        run.output = network(probe)
    finally:
        for handle in handles:
            handle.remove()
    return run


def replace_each(
    network: torch.nn.Module,
    run: ObservedRun,
    replacement: Callable[[torch.nn.Module, tuple[int, int]], torch.nn.Module | None],
) -> int:
    """Replace modules that have been given maps of one size, in place.

    Parameters
    ----------
    network : torch.nn.Module
    run : ObservedRun
        Of this network; what it does not reach is not replaced.
    replacement : callable
        Given a module and the height and width of its input, returns what shall take its place;
        None leaves it.

    Returns
    -------
    int
        Number of modules that were replaced.
    """
    replaced = 0
    for module in list(network.modules()):
        sides = run.input_sides(module)
        new = None if sides is None else replacement(module, sides)
        if new is not None:
            replace_module(network, module, new)
            replaced += 1
    return replaced


def answer_as(replacement: torch.nn.Module, convolution: torch.nn.Conv2d) -> None:
    """Let a replacement answer what some networks ask their convolutions: geometry and device."""
    for name in _GEOMETRY:
        setattr(replacement, name, getattr(convolution, name))
    replacement.register_buffer("weight", convolution.weight.new_empty(0), persistent=False)


def replace_module(network: torch.nn.Module, old: torch.nn.Module, new: torch.nn.Module) -> None:
    """Put a module in the place of another, wherever the network holds that."""
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if module is old:
            network.set_submodule(name, new)


def _is_leaf(module: torch.nn.Module) -> bool:
    """Whether a module computes itself; timm's normalisations hold their activation as a child."""
    return isinstance(module, torch.nn.BatchNorm2d) or not any(module.children())
