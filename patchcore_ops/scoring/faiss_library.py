"""FAISS, with matrix products that use what the processor has.

FAISS's wheel carries an OpenBLAS of 2021. A processor that it does not know it takes for one of
2007, whose products take three times as long. It asks the environment once, while it is loaded.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PROCESSORS = Path("/proc/cpuinfo")
_VARIABLE = "OPENBLAS_CORETYPE"
# Best first: what OpenBLAS calls its kernels, and the processor's flags that they need.
_KERNELS = {
    "SKYLAKEX": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "HASWELL": {"avx2", "fma"},
}


def import_faiss() -> Any:
    """Import FAISS; its OpenBLAS takes the widest kernels that an x86 processor has.

    A user's own `OPENBLAS_CORETYPE` wins. Where somebody has imported FAISS before, it is what it
    is. The environment is afterwards what it was.
    """
    # numpy has an OpenBLAS of its own, which knows the processor.
    import numpy  # noqa: F401

    with _kernels_named():
        return importlib.import_module("faiss")


@contextmanager
def _kernels_named() -> Iterator[None]:
    kernels = _best_kernels()
    if _VARIABLE in os.environ or kernels is None:
        yield
        return
    os.environ[_VARIABLE] = kernels
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def _best_kernels() -> str | None:
    """Name the widest kernels; None where the system does not tell what the processor has."""
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return next((name for name, needed in _KERNELS.items() if needed <= flags), None)
