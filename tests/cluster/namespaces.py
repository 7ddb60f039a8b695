"""Machines that are none: processes in namespaces of their own, with loopback for a network."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_NEW_NETWORK = 0x40000000
_SET_FLAGS = 0x8914
_UP = 1
_APART = ("unshare", "--pid", "--fork", "--kill-child", "--uts", "--mount", "--mount-proc")


def why_not() -> str | None:
    """Say why no machine can be made here; None if one can."""
    try:
        subprocess.run(
            [*_APART, "--net", "true"], check=True, capture_output=True, text=True, timeout=30
        )
    except FileNotFoundError:
        return "there is no `unshare` here"
    except subprocess.CalledProcessError as refused:
        return f"no namespace may be created here: {refused.stderr.strip()}"
    return None


@contextmanager
def network_of_loopback_alone() -> Iterator[None]:
    """Move this thread, and what it starts, into a network where nobody else is.

    Ray listens on every interface. Threads that were there before stay where they were.
    """
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        _call("unshare", _NEW_NETWORK)
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
            yield
        finally:
            _call("setns", before.fileno(), _NEW_NETWORK)


def on_machine(
    host: str, hidden: Sequence[Path], images: Path, command: Sequence[str]
) -> list[str]:
    """Return the command that runs another as on a machine of its own.

    It has a host name and process numbers of its own, does not see the `hidden` folders, and cannot
    write to the images. All its processes end with the first, and that ends with this one.
    """
    steps = [
        f"hostname {shlex.quote(host)}",
        *(f"mount -t tmpfs -o size=4k none {shlex.quote(str(folder))}" for folder in hidden),
        f"mount --bind {shlex.quote(str(images))} {shlex.quote(str(images))}",
        f"mount -o remount,bind,ro {shlex.quote(str(images))}",
        f"exec {shlex.join(command)}",
    ]
    return ["setpriv", "--pdeathsig", "KILL", *_APART, "sh", "-ec", "; ".join(steps)]


def _call(function: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
