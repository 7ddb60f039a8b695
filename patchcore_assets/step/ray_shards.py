"""Shards on the nodes of a Ray cluster, while the run that needs them works on them too.

Nodes take shards from one queue, and so does the run: it never waits for a node that has no place.
A shard whose node died is made by the run at the end.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from patchcore_assets.step.shards import OpenStore, ShardTask, make_shard
from patchcore_assets.storage import ArtefactStore

_SECONDS_BETWEEN_LOOKS = 2.0


def is_on_cluster() -> bool:
    """Tell whether this process is a job of a Ray cluster."""
    return bool(os.environ.get("RAY_ADDRESS"))


class Queue:
    """Which shards nobody has taken, and which one each worker has in hand."""

    def __init__(self, count: int) -> None:
        self._waiting = deque(range(count))
        self._in_hand: dict[int, int] = {}

    def next(self, worker: int) -> int | None:
        """Give a worker its next shard; None if there is no further one."""
        self._in_hand.pop(worker, None)
        if not self._waiting:
            return None
        self._in_hand[worker] = self._waiting.popleft()
        return self._in_hand[worker]

    def busy(self) -> list[int]:
        """Return the workers that have a shard in hand."""
        return list(self._in_hand)


def make_on_cluster(
    tasks: Sequence[ShardTask], open_store: OpenStore, store: ArtefactStore, log: logging.Logger
) -> None:
    """Make shards here and on other nodes."""
    import ray

    joined = not ray.is_initialized()
    if joined:
        ray.init(
            address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.WARNING
        )
    try:
        _share_out(ray, tasks, open_store, store, log)
    finally:
        if joined:
            ray.shutdown()


def _share_out(
    ray: Any,
    tasks: Sequence[ShardTask],
    open_store: OpenStore,
    store: ArtefactStore,
    log: logging.Logger,
) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Ray puts what needs no processor on any node, and the queue would be lost with that.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = ray.remote(num_cpus=0, scheduling_strategy=here)(Queue).remote(len(tasks))
    processors = _smallest_node(ray)
    # Not tried again: what a lost worker had in hand is made here.
    work = ray.remote(num_cpus=processors, max_retries=0, scheduling_strategy="SPREAD")(_work)
    count = min(len(tasks) - 1, int(ray.cluster_resources().get("CPU", 0) // processors))
    workers = {
        work.remote(queue, number, tasks, open_store): number for number in range(1, count + 1)
    }
    log.info(f"{len(tasks)} shards, for this machine and up to {count} workers of the cluster")
    lost: list[str] = []
    try:
        while (shard := ray.get(queue.next.remote(0))) is not None:
            make_shard(tasks[shard], store, log)
            log.info(f"shard {shard + 1} of {len(tasks)} is made, here")
        while workers:
            ended, _ = ray.wait(list(workers), timeout=_SECONDS_BETWEEN_LOOKS)
            for worker in ended:
                lost.extend(_how_it_ended(ray, worker, workers.pop(worker), log))
            if not set(ray.get(queue.busy.remote())) & set(workers.values()):
                return  # The others have never found a place.
    finally:
        for worker in workers:
            ray.cancel(worker, force=True)
        ray.kill(queue)
        for reason in lost:
            log.warning(f"a worker of the cluster was lost, and its shard is made here: {reason}")


def _how_it_ended(ray: Any, worker: Any, number: int, log: logging.Logger) -> list[str]:
    """Log what a worker has made; return why it was lost, if it was."""
    try:
        made, host = ray.get(worker)
    except ray.exceptions.RayTaskError as failure:
        # What fails there for a reason of its own fails here too, with its own sentence.
        return [str(failure.cause).strip().splitlines()[-1]]
    except ray.exceptions.RayError as loss:
        return [str(loss).strip().splitlines()[0]]
    log.info(f"{made} shards were made by {host}")
    return []


def _work(
    queue: Any, number: int, tasks: Sequence[ShardTask], open_store: OpenStore
) -> tuple[int, str]:
    """Make shards on another node until there are none; return how many, and the host."""
    import ray

    from patchcore_ops.stages.provenance import host

    store, log, made = open_store(), logging.getLogger(__name__), 0
    while (shard := ray.get(queue.next.remote(number))) is not None:
        make_shard(tasks[shard], store, log)
        made += 1
    return made, host()


def _smallest_node(ray: Any) -> int:
    """Return the processors of the smallest node: a shard computes with all that a node has."""
    found = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(int(min((count for count in found if count), default=1)), 1)
