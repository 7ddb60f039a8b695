"""One code for numpy on a CPU and for torch on a GPU.

Both modules accept the calls made here, such as `amin`, `argsort(stable=)` and `matmul(out=)`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# A numpy.ndarray, or a torch.Tensor on any device.
Array: TypeAlias = Any


def namespace_of(array: Array) -> Any:
    """Return the module whose functions take this array: numpy or torch."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def to_numpy(array: Array) -> npt.NDArray[Any]:
    """Return the array as a numpy array on the CPU."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu())


def kth_largest(values: Array, count: int) -> Array:
    """Return the smallest of the `count` largest values of a vector."""
    if isinstance(values, np.ndarray):
        return np.partition(values, -count)[-count]
    return values.topk(count, sorted=False).values.min()
