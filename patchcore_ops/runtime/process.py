"""Settings of a process of this project: its threads and its garbage collector."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from patchcore_ops.runtime.processors import available_processors

_OBJECTS_BETWEEN_COLLECTIONS = 500_000


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
