"""How a process behaves that does nothing but this work: its threads, its memory, its collector."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys

from patchcore_ops.processors import available_processors

# Parameters of glibc's mallopt; see malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_MOST_FREED_BYTES_KEPT = 1 << 30
_OBJECTS_BETWEEN_COLLECTIONS = 500_000


def tune_process() -> None:
    """Prepare this process for the benchmark; call it before numpy or torch is imported.

    A user's own `OMP_NUM_THREADS` and `OMP_WAIT_POLICY` win.
    """
    take_available_processors()
    let_idle_threads_sleep()
    keep_freed_memory()
    relax_garbage_collector()
    end_without_collection()


def take_available_processors() -> None:
    """Let numpy's, FAISS's and torch's threads be as many as this process has processors.

    By themselves they count those that the process may run on, of which a container's limit may
    grant it a part only.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))


def let_idle_threads_sleep() -> None:
    """Make waiting OpenMP threads sleep instead of spinning.

    Images are decoded beside the network's computation. Spinning threads take the processor away
    from the decoders, and on a small or shared machine that costs more than waking up does.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def keep_freed_memory() -> None:
    """Let the C library use freed memory again instead of returning it to the system at once.

    Every batch needs the same large arrays. By default each of them is mapped anew, and the system
    fills it with zeros page by page: a good part of a small network's time. Does nothing where the
    C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    # Threads have arenas of their own otherwise, which give back what is freed.
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TRIM_THRESHOLD, _MOST_FREED_BYTES_KEPT)


def return_freed_memory() -> None:
    """Give back to the system what `keep_freed_memory` has kept; for the end of a step.

    The next step needs other arrays, and memory that nobody uses would count as this process's.
    Does nothing where the C library is not glibc.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def relax_garbage_collector() -> None:
    """Collect seldom.

    Importing torch and Dagster makes half a million objects that live until the end. Walking them
    over and over takes a second of each run.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)


def end_without_collection() -> None:
    """Let the system take this process's memory back as a whole when it ends.

    The interpreter would look three times through half a million objects, which takes one and a
    half seconds. Triton's binding would report what is not freed one by one as leaks.
    """
    atexit.register(_freeze_unless_reported)


def _freeze_unless_reported() -> None:
    if "triton" not in sys.modules:
        gc.freeze()
