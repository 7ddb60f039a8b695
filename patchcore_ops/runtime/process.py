"""How a process behaves that does nothing but this work: its threads and its collector."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path

from patchcore_ops.runtime.processors import available_processors

_PROCESSORS = Path("/proc/cpuinfo")
# Best first: what OpenBLAS calls its kernels, and the processor's flags that they need.
_OPENBLAS_KERNELS = {
    "SKYLAKEX": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "HASWELL": {"avx2", "fma"},
}
_OBJECTS_BETWEEN_COLLECTIONS = 500_000


def tune_process() -> None:
    """Prepare this process for the benchmark; call it before numpy or torch is imported.

    A user's own `OMP_NUM_THREADS` and `OPENBLAS_CORETYPE` win.
    """
    take_available_processors()
    name_processor_to_openblas()
    collect_seldom()


def take_available_processors() -> None:
    """Let numpy's, FAISS's and torch's threads be as many as this process has processors.

    By themselves they count those that the process may run on, of which a container's limit may
    grant it a part only.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))


def name_processor_to_openblas() -> None:
    """Let OpenBLAS use the widest instructions that an x86 processor has.

    FAISS's wheel carries an OpenBLAS of 2021. A processor that it does not know it takes for one
    of 2007, whose products take three times as long. Does nothing where the system does not tell.
    """
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    for name, needed in _OPENBLAS_KERNELS.items():
        if needed <= flags:
            os.environ.setdefault("OPENBLAS_CORETYPE", name)


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
