"""Concurrency pools that exist before the first run waits for them.

Dagster makes a pool when a step first asks for it, so the first look through the queue of a fresh
history would see no limit and start all runs at once.
"""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg


def create_pools(instance: dg.DagsterInstance, names: Collection[str]) -> None:
    """Give pools that do not exist the instance's default limit."""
    log = instance.event_log_storage
    if not log.supports_global_concurrency_limits:
        return
    for name in sorted(set(names) - set(log.get_concurrency_keys())):
        log.initialize_concurrency_limit_to_default(name)
