"""Settings of the process that several threads need at once, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from blas_kit import numpy_threads
from threadpoolctl import threadpool_limits

from patchcore_ops.runtime.process_settings import WhileNeeded, one_blas_thread


def test_the_first_enters_and_the_last_leaves() -> None:
    events: list[str] = []

    @contextmanager
    def context() -> Iterator[None]:
        events.append("entered")
        yield
        events.append("left")

    needed = WhileNeeded(context)
    first, second = ExitStack(), ExitStack()
    first.enter_context(needed())
    second.enter_context(needed())
    first.close()
    assert events == ["entered"]
    second.close()
    assert events == ["entered", "left"]
    with needed():
        assert events == ["entered", "left", "entered"]
    assert events == ["entered", "left", "entered", "left"]


def test_what_fails_to_begin_can_begin_again() -> None:
    attempts: list[int] = []

    @contextmanager
    def context() -> Iterator[None]:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no library")
        yield

    needed = WhileNeeded(context)
    with pytest.raises(OSError, match="no library"), needed():
        pass
    with needed():
        assert len(attempts) == 2


def test_an_error_inside_leaves_too() -> None:
    with threadpool_limits(2, "blas"):
        with pytest.raises(ValueError, match="inside"), one_blas_thread():
            assert numpy_threads() == {1}
            raise ValueError("inside")
        assert numpy_threads() == {2}
