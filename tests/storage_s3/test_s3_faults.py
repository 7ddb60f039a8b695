"""A server that fails, answers late or hangs up: success after all, or a plain failure.

Whatever happens to whichever request, a reader finds the old version or the new one, whole.
"""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
import s3fs
from faulty_proxy import SLOW_SECONDS, Fault, Proxy
from s3_kit import NEW, OLD, Bucket, fresh
from store_kit import put, read

from patchcore_assets.storage import is_transient
from patchcore_assets.storage.remote.errors import StorageBusy, StorageRefused

ONE = {"a.bin": b"old" * 10}
OTHER = {"a.bin": b"newer" * 10}


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every single fault through, that would otherwise only cost time."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("patchcore_assets.storage.remote.objects.S3_TRIES", 1)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def impatient(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer less long than a slow one takes, where there is a slow one."""
    if fault != "slow":
        return
    timeout = {"config_kwargs": {"read_timeout": SLOW_SECONDS / 2}}
    monkeypatch.setitem(fsspec.config.conf, "s3", timeout)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("no_retries", "impatient")
@pytest.mark.parametrize("fault", [503, "drop", "lose", "cut", "slow"])
def test_a_fault_at_any_request_of_a_writer_leaves_a_whole_version(
    bucket: Bucket, machines: Path, proxy: Proxy, fault: Fault
) -> None:
    store, reader = fresh(bucket.root, machines), fresh(bucket.root, machines)
    put(store, ONE)
    proxy.forget()
    put(store, OTHER)
    requests = len(proxy.requests)
    assert 8 < requests < 20, requests
    outcomes = set()
    # Each slow answer is waited for.
    for number in range(0, requests, 5 if fault == "slow" else 1):
        proxy.forget()
        put(store, ONE)
        proxy.fault_at(number, fault)
        try:
            put(store, OTHER)
            outcomes.add("done")
        except StorageBusy as error:
            assert is_transient(error)
            outcomes.add("busy")
        proxy.forget()
        assert read(reader) in (ONE, OTHER)
        put(store, OTHER)
        assert bucket.files() == OTHER
    assert "done" in outcomes, "what only tidies up may fail"
    # A client asks again by itself where a connection that it used before has been closed, and most
    # answers to a writer have no body to be cut.
    if fault in (503, "slow"):
        assert "busy" in outcomes


@pytest.mark.usefixtures("no_retries", "impatient")
@pytest.mark.parametrize("fault", [503, "drop", "cut", "slow"])
def test_a_fault_at_any_request_of_a_reader_leaves_no_half_file(
    bucket: Bucket, machines: Path, proxy: Proxy, fault: Fault
) -> None:
    put(fresh(bucket.root, machines), OLD)
    # The pointer, a listing, and four files in any order; each slow answer is waited for.
    for number in range(0, 6, 2 if fault == "slow" else 1):
        reader = fresh(bucket.root, machines)
        proxy.fault_at(number, fault)
        try:
            # A client asks again by itself where a connection that it used before was closed.
            assert read(reader) == OLD
            is_empty = proxy.requests[number].path.endswith("/0/c.bin")
            assert fault == "drop" or (fault == "cut" and is_empty)
        except StorageBusy as error:
            assert is_transient(error)
        assert len(proxy.requests) > number
        proxy.forget()
        assert read(reader) == OLD
    assert len(list(machines.glob("*/*/.versions/asset/c/*.lock"))) <= 7, "one version a machine"


@pytest.mark.parametrize("fault", [500, "lose", "cut"])
def test_a_fault_of_a_moment_is_got_over(
    bucket: Bucket, machines: Path, proxy: Proxy, fault: Fault
) -> None:
    """Every third request fails the first time that it is made."""
    put(fresh(bucket.root, machines), OLD)
    proxy.forget()
    failed = set()

    def fails(number: int, request: object) -> Fault | None:
        if number % 3 == 1 and request not in failed:
            failed.add(request)
            return fault
        return None

    proxy.fault_of = fails
    put(fresh(bucket.root, machines), NEW)
    assert len(failed) > 3
    assert read(fresh(bucket.root, machines)) == NEW
    assert bucket.files() == NEW


def test_a_body_cut_in_the_middle_of_a_large_file_is_read_on(
    bucket: Bucket, machines: Path, proxy: Proxy
) -> None:
    content = bytes(range(256)) * 40_000
    put(fresh(bucket.root, machines), {"large.bin": content})
    proxy.fault_at(2, "cut")
    assert read(fresh(bucket.root, machines)) == {"large.bin": content}
    assert len(proxy.requests) == 4, "the pointer, a listing, half of the file, and the rest"


def test_a_storage_that_stays_away_is_said_plainly(
    bucket: Bucket, machines: Path, proxy: Proxy, no_retries: None
) -> None:
    store = fresh(bucket.root, machines)
    for fault, what in (
        (503, "SlowDown, HTTP status 503"),
        (500, "InternalError, HTTP status 500"),
        ("drop", "ConnectionClosedError"),
    ):
        proxy.fault_of = lambda *_, fault=fault: fault
        with pytest.raises(StorageBusy) as busy:
            read(store)
        assert str(busy.value) == (f"{bucket.root}: the storage fails or is out of reach ({what})")
        assert busy.value.__suppress_context__


def test_a_writer_that_may_not_write_learns_so_before_the_work(
    bucket: Bucket, machines: Path, proxy: Proxy
) -> None:
    put(fresh(bucket.root, machines), OLD)
    proxy.fault_of = lambda *_: 403
    worked = False
    with (
        pytest.raises(StorageRefused, match=r"refuses \(AccessDenied, HTTP status 403\)"),
        fresh(bucket.root, machines).stage("asset", "c"),
    ):
        worked = True
    assert not worked
    proxy.forget()
    assert read(fresh(bucket.root, machines)) == OLD
