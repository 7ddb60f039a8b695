"""Settings of the whole process that several threads need at the same time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

# Each brings a BLAS library of its own.
_WITH_BLAS = ("numpy", "scipy", "faiss", "torch")


class WhileNeeded:
    """A context that the first of several threads enters, and the last of them leaves.

    If each entered and left it on its own, one would restore what another had set.

    Examples
    --------
    >>> from contextlib import suppress
    >>> needed = WhileNeeded(lambda: suppress(KeyError))
    >>> with needed(), needed():
    ...     pass
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._users = 0
        self._entered = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the context for as long as the body runs."""
        with self._lock:
            if self._users == 0:
                self._entered.enter_context(self._make())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._entered.close()


def _limited_libraries() -> AbstractContextManager[Any]:
    loaded = tuple(name for name in _WITH_BLAS if name in sys.modules)
    limiter: AbstractContextManager[Any] = _libraries(loaded).limit(limits=1, user_api="blas")
    return limiter


@cache
def _libraries(_loaded: tuple[str, ...]) -> ThreadpoolController:
    # Looking for libraries takes milliseconds.
    return ThreadpoolController()


# Each thread computes its matrix products alone.
one_blas_thread = WhileNeeded(_limited_libraries)
