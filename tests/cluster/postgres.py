"""A PostgreSQL server of its own, in a temporary folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from machine import Machine, answers, wait_for

PORT = 5432
USER = "dagster"
_INSTALLED = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where it is not installed."""
    # Debian keeps them out of the path, by version.
    found = sorted(_INSTALLED.glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    file = found[-1] if found else on_path
    return None if file is None else Path(file).parent


def start_postgres(machine: Machine, folder: Path, password: str) -> None:
    """Make a server whose user and database are both called `dagster`, and start it."""
    binaries = programs()
    assert binaries is not None
    folder.mkdir()
    shutil.chown(folder, "nobody", "nogroup")
    secret = folder / "password"
    secret.write_text(password, encoding="utf-8")
    shutil.chown(secret, "nobody", "nogroup")
    # It refuses to run as root.
    as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    data = folder / "data"
    machine.run(
        *as_nobody,
        str(binaries / "initdb"),
        f"--pgdata={data}",
        f"--username={USER}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--no-sync",
        "--encoding=UTF8",
    )
    machine.start(
        "postgres",
        *as_nobody,
        str(binaries / "postgres"),
        f"-D{data}",
        f"-p{PORT}",
        "-hlocalhost",
        f"-k{folder}",
        "-cfsync=off",
    )
    wait_for("PostgreSQL", lambda: answers(PORT))
