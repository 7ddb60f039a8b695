"""A process that makes shards on a Ray cluster whose other nodes die after its first one."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest import mock

from namespaces import network_of_loopback_alone
from ray.cluster_utils import Cluster

from patchcore_assets.step.ray_shards import make_on_cluster
from patchcore_assets.step.shards import ShardTask
from patchcore_assets.storage import open_store

SHARDS = 12


def make(_reads: Sequence[Path], folder: Path, _networks: object) -> None:
    time.sleep(1.0)
    (folder / "file").touch()


class Killer(logging.Handler):
    """Kills the other nodes when the first shard is made here."""

    def __init__(self, cluster: Cluster, nodes: list[object]) -> None:
        super().__init__()
        self._cluster = cluster
        self._nodes = nodes

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().endswith("is made, here"):
            while self._nodes:
                self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)


def main(folder: Path) -> None:
    options = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    log = logging.getLogger("shards")
    log.setLevel(logging.INFO)
    log.addHandler(Killer(cluster, [cluster.add_node(**options) for _ in range(2)]))
    open_again = partial(open_store, str(folder))
    tasks = [ShardTask("a_shards", f"n{number}", "c", (), make) for number in range(SHARDS)]
    with mock.patch.dict("os.environ", RAY_ADDRESS=cluster.address):
        make_on_cluster(tasks, open_again, open_again(), log)
    cluster.shutdown()


if __name__ == "__main__":
    # Workers import what makes a shard by this name.
    sys.modules["shards_process"] = sys.modules["__main__"]
    make.__module__ = "shards_process"
    with (
        network_of_loopback_alone(),
        tempfile.TemporaryDirectory(dir="/tmp") as short,  # Ray's sockets need a short path.
        mock.patch.dict("os.environ", RAY_TMPDIR=short, RAY_USAGE_STATS_ENABLED="0"),
    ):
        main(Path(sys.argv[1]))
