"""How the threads of the numeric libraries behave while they wait."""

from __future__ import annotations

import os


def let_idle_threads_sleep() -> None:
    """Make waiting OpenMP threads sleep instead of spinning; call before torch is imported.

    Images are decoded beside the network's computation. Spinning threads take the processor away
    from the decoders, and on a small or shared machine that costs more than waking up does. A
    setting of the user's wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
