"""How a process behaves that does nothing but this work: its threads and its collector."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from patchcore_ops.runtime.processors import available_processors

_OBJECTS_BETWEEN_COLLECTIONS = 500_000


def tune_process() -> None:
    """Prepare this process for the benchmark; call it before numpy or torch is imported.

    A user's own `OMP_NUM_THREADS` wins. It is for a command of ours alone: what it sets holds for
    everything that runs in the process.
    """
    take_available_processors()
    collect_seldom()


def take_available_processors() -> None:
    """Let numpy's, FAISS's and torch's threads be as many as this process has processors.

    By themselves they count those that the process may run on, of which a container's limit may
    grant it a part only.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))


def collect_seldom() -> None:
    """Let Python's collector look at everything seldom, and not at all when the process ends.

    Importing Dagster makes half a million objects that live until the end. Walking them over and
    over takes a fourteenth of a run of one category. Triton's binding would report what is not
    freed one by one as leaks.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    atexit.register(_freeze_unless_reported)


def _freeze_unless_reported() -> None:
    if "triton" not in sys.modules:
        gc.freeze()
