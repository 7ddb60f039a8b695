"""Where torch computes."""

from __future__ import annotations

import torch

from patchcore_ops.errors import EnvironmentProblem


def resolve_device(name: str) -> torch.device:
    """Turn `runtime.device` into a device: `auto` takes CUDA where there is one.

    Raises
    ------
    EnvironmentProblem
        If the named device is not available here.
    """
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


def device_name(name: str) -> str:
    """Interim."""
    return "cpu" if name in ("auto", "cpu") else str(resolve_device(name))
