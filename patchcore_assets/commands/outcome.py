"""How a command ends: its exit code, whatever goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

from patchcore_ops.runtime.errors import EnvironmentProblem, UserError

_MISTAKE, _INTERRUPTED = 2, 130
# 128 and the number of the signal that ends a program whose reader has gone.
_READER_GONE = 141


def exit_code(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; return its exit code, or that of what went wrong, which is said."""
    try:
        with redirect_stdout(cast(TextIO, _StandardOutput(sys.stdout))):
            code = run(options)
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return _READER_GONE
    except UserError as mistake:
        print(mistake, file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        return _INTERRUPTED


class _StandardOutput:
    """Standard output that says in one sentence that it has no room.

    A reader that has gone is a BrokenPipeError; whatever else is an EnvironmentProblem.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._said():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._said():
            self._stream.flush()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            _discard_output()
            raise EnvironmentProblem(
                f"standard output: cannot be written ({error.strerror}); give it room, and run the "
                "same command again"
            ) from None


def _discard_output() -> None:
    """Keep Python from complaining again when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
