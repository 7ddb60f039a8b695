"""Settings of a process of this project: its threads and its garbage collector."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
from contextlib import suppress

from patchcore_ops.runtime.processors import available_processors

_OBJECTS_BETWEEN_COLLECTIONS = 500_000
# From glibc's malloc.h.
_M_ARENA_MAX = -8


def tune_process() -> None:
    """Prepare a process of our own commands; call it before numpy or torch is imported.

    A user's own `OMP_NUM_THREADS` wins.
    """
    take_available_processors()
    collect_seldom()


def take_available_processors() -> None:
    """Give numpy, FAISS and torch as many threads as this process has processors.

    Their own count ignores the CPU limit of a container.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))


def share_freed_memory(arenas: int = 2) -> None:
    """Let threads take memory from few arenas of glibc, so that what one frees serves another.

    By default each thread of a long-lived process gets an arena, which keeps its largest need.
    """
    with suppress(OSError, AttributeError, TypeError):  # Another C library.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, arenas)


def collect_seldom() -> None:
    """Collect garbage seldom, and not at all when the process ends.

    Dagster's half a million lasting objects cost a fourteenth of a run to scan. Triton's binding
    would report what is not freed as leaks.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    atexit.register(_freeze_unless_reported)


def _freeze_unless_reported() -> None:
    if "triton" not in sys.modules:
        gc.freeze()
