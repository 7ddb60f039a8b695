"""What this machine offers to one process: processors and their speed, memory, and disk."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from patchcore_ops.runtime.control_groups import control_groups
from patchcore_ops.runtime.processors import available_processors

# Version 2's file, then version 1's, which says a number beyond any memory where there is no limit.
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_PRODUCT = (256, 1024, 1024)
_PRODUCTS = 5


@dataclass(frozen=True)
class Machine:
    """A machine as one process may use it."""

    host: str
    processors: int
    memory: int  # bytes that there are or may be used
    disk: int  # bytes that are free on the disk of the artefacts
    speed: float  # floating-point operations a second of one processor, in a float32 matrix product


def this_machine(folder: Path) -> Machine:
    """Describe this machine; `folder` lies on the disk that counts. Takes some 50 ms."""
    return Machine(
        host=platform.node(),
        processors=available_processors(),
        memory=usable_memory(),
        disk=shutil.disk_usage(folder).free,
        speed=product_speed(),
    )


def usable_memory() -> int:
    """Return the bytes of memory: those of the machine, or the limit of a control group."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_memory_limits()])


def _memory_limits() -> Iterator[int]:
    for folder in control_groups("memory"):
        for file in _LIMITS:
            try:
                yield int((folder / file).read_text(encoding="ascii"))
            except (OSError, ValueError):
                continue  # No such file, or `max`: no limit.


@cache
def product_speed() -> float:
    """Measure the speed of one processor, in operations a second: the best of some products.

    Time is this thread's own, so that others at work on the machine hardly count.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, inner, columns = _PRODUCT
    left, right = (np.ones(shape, np.float32) for shape in ((rows, inner), (inner, columns)))
    best = float("inf")
    with threadpool_limits(1, "blas"):
        for _ in range(_PRODUCTS):
            started = time.thread_time()
            np.matmul(left, right)
            best = min(best, time.thread_time() - started)
    return 2.0 * rows * inner * columns / max(best, 1e-6)
