"""FAISS, with matrix products that use what the processor has.

FAISS's wheel carries an OpenBLAS of 2021. A processor that it does not know it takes for one of
2007, whose products take three times as long. It asks the environment once, while it is loaded.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from patchcore_ops.runtime.errors import EnvironmentProblem

_Result = TypeVar("_Result")
SWITCH_TO_GPU = (
    "pip uninstall -y faiss-cpu faiss-gpu && pip install --no-deps --force-reinstall faiss-gpu"
)

_PROCESSORS = Path("/proc/cpuinfo")
_VARIABLE = "OPENBLAS_CORETYPE"
_PLACE_IN_FAISS = re.compile(r"^Error in .* at \S+:\d+: (ParameterSpace::set_index_parameter:)?")
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


def only_faiss() -> Any:
    """Import FAISS; refuse the two builds beside each other, for they overwrite one another."""
    installed = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    if len(installed) > 1:
        raise EnvironmentProblem(
            "faiss-cpu and faiss-gpu are both installed but share the module name faiss; keep one: "
            f"{SWITCH_TO_GPU}"
        )
    return import_faiss()


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Let FAISS use so many threads in this one, and its own again afterwards."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def in_threads(
    threads: int, function: Callable[..., _Result], *parts: Sequence[Any]
) -> list[_Result]:
    """Call a function of FAISS with each of some parts, in threads that share those of FAISS.

    Where others use the processors too, FAISS's own threads wait for each other, busily.
    """
    count = len(parts[0])
    if min(count, threads) == 1:
        return list(map(function, *parts))
    share = max(threads // count, 1)
    set_threads = import_faiss().omp_set_num_threads
    with ThreadPoolExecutor(threads, "search", set_threads, (share,)) as executor:
        return list(executor.map(function, *parts))


def reason_of(error: Exception) -> str:
    """Return what FAISS says without the function, file and assertion in which it says it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = _PLACE_IN_FAISS.sub("", lines[-1]).removeprefix("Error: ")
    return said[:200] or lines[-1][:200]


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


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
