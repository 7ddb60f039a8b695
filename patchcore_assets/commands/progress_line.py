"""How far a command is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time

_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0
_WIDTH = 30


class ProgressLine:
    """Progress on standard error, of so many images in all."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_terminal = sys.stderr.isatty()
        self._said = time.monotonic()
        self._free = 0
        # When the first one that was not free was done; what came before was preparation.
        self._began: float | None = None

    def update(self, done: int, is_free: bool = False) -> None:
        """Say that so many are done; one that was free does not count as speed."""
        self._free += is_free
        now = time.monotonic()
        if self._began is None and not is_free:
            self._began = now
        if now - self._said < (_BAR_SECONDS if self._is_terminal else _LINE_SECONDS):
            return
        self._said = now
        text = f"{done}/{self._total} images{self._pace(done, now)}"
        if self._is_terminal:
            filled = _WIDTH * done // max(self._total, 1)
            bar = "#" * filled + "." * (_WIDTH - filled)
            # Blanks cover the end of a longer line before.
            print(f"\r[{bar}] {text:<45}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _pace(self, done: int, now: float) -> str:
        worked = done - self._free - 1
        if self._began is None or worked < 1:
            return ""
        speed = worked / (now - self._began)
        return f", {speed:.1f}/s, {(self._total - done) / speed:.0f} s left"
