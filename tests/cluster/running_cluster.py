"""A cluster from its start to its end."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import postgres
from cluster_kit import Cluster
from faulty_proxy import faulty_proxy
from moto.server import ThreadedMotoServer
from namespaces import network_of_loopback_alone, why_not
from operator_kit import Operator


def why_none() -> str | None:
    """Say why no cluster can be started here; None if one can."""
    if os.geteuid() != 0:
        return "the cluster has a network of its own, which root alone may make"
    if reason := why_not():
        return f"the cluster has a network of its own: {reason}"
    if postgres.programs() is None:
        return "PostgreSQL is not installed; `make system-packages` installs it"
    return None


@contextmanager
def running_cluster(*, behind_proxy: bool, **options: Any) -> Iterator[Operator]:
    """Start a cluster; everything of it is gone when this is left. For `options` see `Cluster`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ExitStack() as stack:
        # Ray's sockets need a short path, and PostgreSQL one that is not only root's.
        root = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o711)
        stack.enter_context(network_of_loopback_alone())
        environment = stack.enter_context(mock.patch.dict(os.environ))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "DAGSTER_HOME"):
            environment.pop(name, None)
        environment.update(
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_DEFAULT_REGION="us-east-1",
        )
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        host, port = moto.get_host_and_port()
        proxy = stack.enter_context(faulty_proxy(host, port)) if behind_proxy else None
        cluster = Cluster(root, f"http://{host}:{port}", stack, proxy=proxy, **options)
        ours = ("DAGSTER_", "RAY_", "AWS_")
        environment.update(
            {name: one for name, one in cluster.head.environment.items() if name.startswith(ours)}
        )
        try:
            cluster.start()
        except BaseException as problem:
            problem.add_note("".join(one.logs() for one in cluster.machines.values()))
            raise
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(cluster.home)))
        yield Operator(cluster, instance)
