"""One machine of the cluster under test: its folder, its environment, and what runs on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from namespaces import on_machine

Found = TypeVar("Found")

# Ample on a machine with much else to do; nothing waits for longer than it must.
DEADLINE = 300.0
_SHOWN_OF_A_LOG = 3000


@dataclass
class Machine:
    """A machine; `hidden` are the folders of the others, `environment` is all that it has."""

    host: str
    folder: Path
    images: Path
    hidden: Sequence[Path]
    environment: Mapping[str, str]
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        """Start a service; its output goes into the machine's folder."""
        log = self._log(name)
        with log.open("ab") as output:
            self._processes[name] = subprocess.Popen(
                on_machine(self.host, self.hidden, self.images, command),
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, *command: str) -> str:
        """Run a command to its end and return what it prints."""
        done = subprocess.run(
            on_machine(self.host, self.hidden, self.images, command),
            env=dict(self.environment),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def kill(self) -> None:
        """End every process at once, as a power cut does."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(30)
        self._processes.clear()

    def dead(self) -> list[str]:
        """Name the services that have ended by themselves."""
        return [name for name, one in self._processes.items() if one.poll() is not None]

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "".join(
            f"\n--- {log.stem} of {self.host}\n"
            + log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_OF_A_LOG:]
            for log in sorted(self.folder.glob("*.log"))
        )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def here(command: str) -> str:
    """Return the path of a command of this Python environment."""
    return str(Path(sys.executable).with_name(command))


def bare_environment(folder: Path, repository: Path) -> dict[str, str]:
    """Return what every process needs, and nothing of the caller's own."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}:/usr/sbin:/sbin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(repository),
        "OMP_NUM_THREADS": "1",
    }


def wait_for(
    what: str, happened: Callable[[], Found], seconds: float = DEADLINE, pause: float = 0.2
) -> Found:
    """Ask again until something has happened."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := happened():
            return result
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def answers(port: int) -> bool:
    """Tell whether something listens on a port of this network."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
