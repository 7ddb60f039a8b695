"""Where a step computes. torch is imported only to ask it for a device other than the CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from patchcore_ops.runtime.errors import EnvironmentProblem

if TYPE_CHECKING:
    import torch

# A driver shows itself by one of these: NVIDIA's natively, in a container, or in WSL; and AMD's.
_DRIVER_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
# What a build of torch has beside its code for the CPU.
_CUDA_LIBRARIES = ("libtorch_cuda.so", "libtorch_hip.so")


def has_gpu_driver() -> bool:
    """Tell whether this machine has the driver of a GPU that `auto` would take."""
    return any(Path(file).exists() for file in _DRIVER_FILES)


def device_name(name: str) -> str:
    """Turn `runtime.device` into the name of a device, such as `cpu`, `cuda`, `cuda:1` or `mps`.

    Importing torch takes seconds. It is not asked where the answer can only be the CPU: there is
    no driver of a GPU, or torch is built for the CPU alone.

    Raises
    ------
    EnvironmentProblem
        If the named device is not available here.
    """
    if name == "cpu" or (name == "auto" and not (has_gpu_driver() and _torch_has_cuda())):
        return "cpu"
    return str(resolve_device(name))


def coreset_device(name: str) -> str:
    """Say what `runtime.device` means for the coreset: `cpu` for `mps`, else the same.

    Anchor distances are computed in float64, which Apple's GPUs do not have.
    """
    return "cpu" if name == "mps" else name


def resolve_device(name: str) -> torch.device:
    """Turn `runtime.device` into a device: `auto` takes CUDA where there is one.

    Raises
    ------
    EnvironmentProblem
        If the named device is not available here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[device.type]:
        raise EnvironmentProblem(
            f"runtime.device: '{name}' is not available to this torch ({torch.__version__}); "
            "use auto or cpu"
        )
    return device


def _torch_has_cuda() -> bool:
    """Look at torch's installed libraries, without importing it."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    libraries = Path(found.origin).with_name("lib")
    return any((libraries / name).exists() for name in _CUDA_LIBRARIES)
