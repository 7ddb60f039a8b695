"""Children forked from a process that has imported everything, so that each starts at once.

The parent must not start threads, open a run history or compute: a forked child would inherit
locks whose holders it does not have.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    result: Any
    killed: bool
    seconds: float


class Child:
    """A forked process that runs one function; its output goes to a file."""

    def __init__(self, function: Callable[[], Any], log: Path) -> None:
        self._started = time.monotonic()
        self._pipe, writing = os.pipe()
        self.identity = os.fork()
        if self.identity == 0:
            os.close(self._pipe)
            _run(function, writing, log)
        os.close(writing)

    def wait(self, kill_after: float | None = None, timeout: float = 120) -> Ended:
        """Wait for its end."""
        received = b""
        until = time.monotonic() + (timeout if kill_after is None else kill_after)
        hanging = False
        while True:
            ready, _, _ = select.select([self._pipe], [], [], max(until - time.monotonic(), 0))
            if not ready:
                os.kill(self.identity, signal.SIGKILL)
                hanging = kill_after is None
                break
            part = os.read(self._pipe, 1 << 16)
            if not part:
                break
            received += part
        os.close(self._pipe)
        _, status = os.waitpid(self.identity, 0)
        if hanging:
            raise TimeoutError(f"a child was still running after {timeout} seconds")
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        result = json.loads(received) if received and not killed else None
        return Ended(result, killed, time.monotonic() - self._started)


def run(function: Callable[[], Any], log: Path) -> Any:
    """Run a function in a child and return its result."""
    ended = Child(function, log).wait()
    if ended.result is None:
        raise RuntimeError(f"a child ended without a result:\n{log.read_text()[-4000:]}")
    return ended.result


def _run(function: Callable[[], Any], writing: int, log: Path) -> None:
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        text = json.dumps(function()).encode()
        while text:
            text = text[os.write(writing, text) :]
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
