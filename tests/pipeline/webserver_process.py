"""A real `dagster-webserver` or `dagster dev` on a free port, for as long as a test needs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SECONDS_TO_START = 60.0


class Webserver:
    """The webserver at an address; what it is asked goes over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query and return its data."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as refusal:
            raise AssertionError(refusal.read().decode()) from None
        assert not answer.get("errors"), answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def webserver(
    home: Path,
    environment: Mapping[str, str],
    *options: str,
    command: Sequence[str] = ("dagster-webserver",),
) -> Iterator[Webserver]:
    """Run a webserver on an instance's folder; it is gone when this is left.

    Parameters
    ----------
    home : Path
        The folder of `dagster.yaml`; receives the log.
    environment : mapping of str to str
        What the process sees, such as PATCHCORE_CONFIG.
    options : str
        Further options of the command, such as `--read-only`.
    command : sequence of str
        Or `dagster dev`, which runs the daemon too.
    """
    port = free_port()
    log = home / "webserver.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name(command[0])),
                *command[1:],
                *("-m", "patchcore_assets", "--host", "127.0.0.1", "--port", str(port)),
                *options,
            ],
            env={**os.environ, **environment, "DAGSTER_HOME": str(home)},
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            server = Webserver(f"http://127.0.0.1:{port}")
            _wait_until_it_answers(server, process, log)
            yield server
        except BaseException as problem:
            problem.add_note(log.read_text(encoding="utf-8", errors="replace")[-8000:])
            raise
        finally:
            _end(process)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_answers(server: Webserver, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{server.url}/server_info", timeout=5).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"the webserver did not answer:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the webserver stop its code servers; whatever is left of its session is killed."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
