"""The control groups that hold this process: a container or a job may have few means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups and of all groups above them.

    Version 2's, and of version 1 those of a controller, such as `cpu`. Inside a container the path
    may be the one outside, which does not exist here.
    """
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (controllers, controller) if controllers else ("", "unified")
        for mount in dict.fromkeys(mounts):
            group = Path(path.lstrip("/"))
            yield from (_CGROUPS / mount / part for part in (group, *group.parents))
