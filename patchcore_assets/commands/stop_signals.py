"""Ctrl-C and SIGTERM as a request to come to an end."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class StopSignals:
    """A context in which the first signal is remembered and any further one interrupts.

    While `is_safe_to_interrupt`, the first one interrupts as well.

    Attributes
    ----------
    is_asked : bool
        Whether a signal has come.
    is_safe_to_interrupt : bool
        True at first.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self.is_safe_to_interrupt = True
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked or self.is_safe_to_interrupt:
            raise KeyboardInterrupt
        self.is_asked = True
