"""The device of a step. torch is imported only when the answer may not be the CPU."""

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
    """Tell whether this machine has a GPU driver that `auto` would use."""
    return any(Path(file).exists() for file in _DRIVER_FILES)


def device_name(name: str) -> str:
    """Turn `runtime.device` into a device name: `cpu`, `cuda`, `cuda:1` or `mps`.

    torch, which takes seconds to import, is asked only where a GPU is possible.
    """
    return str(resolve_device(name)) if may_be_gpu(name) else "cpu"


def may_be_gpu(name: str) -> bool:
    """Tell whether `runtime.device` may be a GPU, without importing torch."""
    return name != "cpu" and (name != "auto" or (has_gpu_driver() and _torch_has_cuda()))


def coreset_device(name: str) -> str:
    """Return the coreset's device: `cpu` for `mps`, which has no float64, else the same."""
    return "cpu" if name == "mps" else name


def resolve_device(name: str) -> torch.device:
    """Turn `runtime.device` into a torch device; `auto` takes CUDA where it is available."""
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
