"""Run by tests in a process of its own: the whole benchmark, under an audit hook.

The hook cannot be taken out again. It writes each event that could run foreign code or reach
another machine, with the module that caused it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

WATCHED = frozenset(
    {
        "pickle.find_class",
        "marshal.load",
        "marshal.loads",
        "compile",
        "exec",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "subprocess.Popen",
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "ftplib.connect",
        "smtplib.connect",
        "urllib.Request",
        "webbrowser.open",
        "ctypes.dlopen",
    }
)
# Where the interpreter itself loads modules, or makes the methods of a class from a template.
IMPORTS = ("<frozen importlib", "importlib/", "zipimport", "runpy.py")
TEMPLATES = ("dataclasses.py", "collections/__init__.py", "enum.py", "typing.py", "inspect.py")
LOOPBACK = ("127.", "::1", "localhost", "/")

seen: Counter[tuple[str, str, str]] = Counter()
_busy = False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note an event and who caused it."""
    global _busy  # noqa: PLW0603
    if event not in WATCHED or _busy:
        return
    _busy = True
    try:
        if not (event.startswith("socket.") and _is_local(arguments)):
            cause = cause_of(sys._getframe(1))
            if cause is not None:
                seen[event, cause, repr(arguments)[:60] if "patchcore" in cause else ""] += 1
    finally:
        _busy = False


def cause_of(frame: FrameType | None) -> str | None:
    """Return the module whose code caused an event; None for imports and class templates.

    The standard library acts for whoever calls it.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if any(part in file for part in (*IMPORTS, *TEMPLATES)):
            return None
        module = str(frame.f_globals.get("__name__", "?"))
        if module.partition(".")[0] not in sys.stdlib_module_names:
            return module
        frame = frame.f_back
    return None


def _is_local(arguments: tuple[Any, ...]) -> bool:
    address = arguments[-1] if isinstance(arguments[-1], str | tuple) else arguments[0]
    host = address[0] if isinstance(address, tuple) and address else address
    return isinstance(host, str) and host.startswith(LOOPBACK)


def main(config: str, result: str) -> None:
    """Run everything, for one category, then table and report."""
    import dagster as dg
    from pipeline_kit import BY_CATEGORY, OVER_ALL, complete

    sys.addaudithook(watch)
    with dg.DagsterInstance.ephemeral() as instance:
        complete(Path(config), *BY_CATEGORY, instance=instance)
        complete(Path(config), *OVER_ALL, partition=None, instance=instance)
    events = [[*key, count] for key, count in sorted(seen.items())]
    Path(result).write_text(json.dumps(events), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
