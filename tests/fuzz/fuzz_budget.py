"""Attempts until the time of a fuzz is over."""

from __future__ import annotations

import faulthandler
import random
import sys
import time
from collections.abc import Iterator

# A single input takes milliseconds; after as long as this it hangs, and all threads are printed.
HANGS_AFTER_SECONDS = 60


class Budget:
    """Hands out random generators until the time is over, and watches each attempt."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds = seconds
        self.seed = seed
        self.attempts = 0
        self.slowest = 0.0

    def __iter__(self) -> Iterator[random.Random]:
        """Yield the generator of each attempt; the n-th is the same in every run."""
        end = time.monotonic() + self.seconds
        try:
            while time.monotonic() < end:
                faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)
                began = time.monotonic()
                yield random.Random(f"{self.seed}/{self.attempts}")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.attempts += 1
        finally:
            faulthandler.cancel_dump_traceback_later()

    def say(self, *lines: str) -> None:
        """Report what was found; `pytest -s` shows it."""
        sys.stdout.write("\n".join(["", *lines, ""]))
