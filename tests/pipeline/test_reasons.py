"""The reason of a failed run: the exception that was raised in the first place, on one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import dagster as dg
import pytest

from patchcore_assets.step.reasons import reason_of, succeeded


def plain() -> NoReturn:
    raise ValueError("two\nlines")


def wrapped() -> NoReturn:
    try:
        raise OSError("the disk is gone")
    except OSError as error:
        raise RuntimeError("while it was written") from error


def without_a_message() -> NoReturn:
    raise KeyError


def ends_at_a_colon() -> NoReturn:
    raise RuntimeError("found these: ")


def with_a_sentence() -> NoReturn:
    raise dg.Failure("bottle: holds no images:")


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        (plain, "ValueError: two lines"),
        (wrapped, "OSError: the disk is gone"),
        (without_a_message, "KeyError"),
        (ends_at_a_colon, "RuntimeError: found these"),
        (with_a_sentence, "bottle: holds no images"),
    ],
)
def test_of_a_step(fail: Callable[[], NoReturn], reason: str) -> None:
    @dg.asset
    def sound() -> None:
        pass

    @dg.asset(deps=[sound])
    def broken() -> None:
        fail()

    result = dg.materialize([sound, broken], raise_on_error=False)
    assert reason_of(result) == ("broken", reason)
    assert succeeded(result, "sound")
    assert not succeeded(result, "broken")


def test_of_what_fails_before_the_first_step() -> None:
    @dg.resource
    def unreachable() -> NoReturn:
        raise OSError("nobody answers")

    @dg.asset(required_resource_keys={"unreachable"})
    def waiting() -> None:
        pass

    result = dg.materialize([waiting], resources={"unreachable": unreachable}, raise_on_error=False)
    assert reason_of(result) == (result.job_def.name, "OSError: nobody answers")
