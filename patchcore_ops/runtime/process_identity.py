"""Which process one is, and whether it is still there, without asking it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_MACHINE = Path("/etc/machine-id")
_ENDED = "ZX"
# In /proc/PID/stat after the name: the state, and when it was started, in ticks since the boot.
_STATE, _STARTED = 0, 19


class ProcessIdentity(NamedTuple):
    """A process among all that this machine ever runs, and the machine among others."""

    machine: str  # its number and the host's name; empty where it has none
    boot: str
    namespace: str  # a container counts processes of its own
    pid: str
    started: str

    @staticmethod
    def of(pid: str) -> ProcessIdentity | None:
        """Identify a process of this machine; None if it has ended, or Linux is not the system."""
        try:
            boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            state = (_PROC / pid / "stat").read_text(encoding="utf-8", errors="replace")
            fields = state.rpartition(")")[2].split()
            namespace = (_PROC / "self/ns/pid").readlink().name
        except OSError:
            return None
        if fields[_STATE] in _ENDED:
            return None
        try:
            number = _MACHINE.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            number = ""
        machine = f"{number}/{platform.node()}" if number else ""
        return ProcessIdentity(machine, boot, namespace, pid, fields[_STARTED])

    @staticmethod
    def of_this() -> ProcessIdentity | None:
        """Identify this process."""
        return ProcessIdentity.of(str(os.getpid()))

    @staticmethod
    def read(text: str) -> ProcessIdentity | None:
        """Read what `str` wrote; None for anything else."""
        parts = text.split(" ")
        return ProcessIdentity(*parts) if len(parts) == len(ProcessIdentity._fields) else None

    def __str__(self) -> str:
        return " ".join(self)

    def has_ended(self) -> bool:
        """Tell whether the process is certainly no more: not where it cannot be seen from here."""
        here = ProcessIdentity.of_this()
        if here is None:
            return False
        if self.boot != here.boot:
            # The machine has been started anew since.
            return bool(self.machine) and self.machine == here.machine
        return self.namespace == here.namespace and ProcessIdentity.of(self.pid) != self
