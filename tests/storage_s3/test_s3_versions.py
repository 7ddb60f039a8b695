"""A version appears as a whole, whoever writes, dies or fails meanwhile."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Proxy
from s3_kit import NEW, OLD, Bucket, fresh
from store_kit import put, read
from writer_process import commit_often, die_at_change

from patchcore_assets.storage import DamagedArtefact
from patchcore_assets.storage.remote.errors import StorageBusy
from patchcore_assets.storage.remote.objects import Objects, Stored
from patchcore_assets.storage.remote.store import RemoteStore


@pytest.fixture(scope="module")
def processes() -> Any:
    """Fork from a process that has imported everything: quick, and without this one's threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["patchcore_assets.storage.remote.store", "s3fs", "boto3"])
    return context


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def test_a_category_may_have_blanks_and_letters_of_any_language(
    store: RemoteStore, bucket: Bucket, machines: Path
) -> None:
    for name in ("Ventil groß 2", "部品 A"):
        written = put(store, OLD, "asset", name)
        with fresh(bucket.root, machines).open("asset", name) as artefact:
            assert artefact.data_version == written.data_version
        assert bucket.files(f"asset/{name}") == OLD
    assert sorted(store.categories("asset")) == ["Ventil groß 2", "部品 A"]


def test_the_superseded_version_is_removed_and_the_current_one_stays(
    store: RemoteStore, bucket: Bucket
) -> None:
    put(store, OLD)
    put(store, {"x": b"of another artefact"}, category="c2")
    put(store, NEW)
    assert bucket.versions() == {bucket.version()}
    assert bucket.versions("asset/c2") == {bucket.version("asset/c2")}
    assert bucket.files() == NEW


@pytest.mark.parametrize("folder", ["line[1]", "line*"])
def test_a_root_with_letters_of_patterns_is_that_folder_and_no_other(
    bucket: Bucket, machines: Path, folder: str
) -> None:
    other = fresh(f"s3://{bucket.name}/line1", machines)
    store = fresh(f"s3://{bucket.name}/{folder}", machines)
    for content in (OLD, NEW):
        put(other, content)
        put(store, content)
    kept = {name.split("/")[2] for name in bucket.objects(f"{folder}/")}
    assert len(kept) == 2  # The pointer, and the version that it names.
    store.remove("asset", "c")
    assert not bucket.objects(f"{folder}/")
    assert read(other) == NEW


def test_categories_take_one_request(bucket: Bucket, machines: Path, proxy: Proxy) -> None:
    store = fresh(bucket.root, machines)
    assert store.categories("category_metrics") == []
    for number in range(15):
        put(store, {"metrics.json": b"{}"}, "category_metrics", f"c{number:02}")
    put(store, {"metrics.csv": b"1"}, "metrics", None)
    bucket.write("category_metrics/half/metrics.json", b"no artefact")
    proxy.forget()
    assert store.categories("category_metrics") == [f"c{number:02}" for number in range(15)]
    assert len(proxy.requests) == 1
    assert store.categories("metrics") == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "a.bin (missing)"),
        (b"shorter", "a.bin (7 bytes instead of 30)"),
        (b"x" * len(OLD["a.bin"]), "a.bin (another content)"),
    ],
)
def test_a_damaged_object_is_named_with_the_remedy(
    bucket: Bucket, machines: Path, content: bytes | None, fault: str
) -> None:
    put(fresh(bucket.root, machines), OLD)
    place = f"asset/c/{bucket.version()}/a.bin"
    bucket.delete(place) if content is None else bucket.write(place, content)
    with pytest.raises(DamagedArtefact) as damaged:
        read(fresh(bucket.root, machines))
    assert str(damaged.value).startswith(f"{fault} of asset of 'c' in {bucket.root}/asset/c is ")
    assert str(damaged.value).endswith(" --select asset --partition c")
    put(fresh(bucket.root, machines), NEW)
    assert read(fresh(bucket.root, machines)) == NEW


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"VERSION:../../../elsewhere", b"FILE:../../elsewhere"],
)
def test_a_damaged_pointer_is_named_and_replaced(
    bucket: Bucket, machines: Path, content: bytes
) -> None:
    put(fresh(bucket.root, machines), OLD)
    pointer = json.loads(bucket.get("some/where/asset/c/artefact.json"))
    kind, _, value = content.decode().partition(":")
    if kind == "VERSION":
        content = json.dumps({**pointer, "version": value}).encode()
    elif kind == "FILE":
        pointer["files"][value] = pointer["files"].pop("a.bin")
        content = json.dumps(pointer).encode()
    bucket.write("asset/c/artefact.json", content)
    with pytest.raises(DamagedArtefact, match=r"artefact\.json .* make the artefact again"):
        read(fresh(bucket.root, machines))
    put(fresh(bucket.root, machines), NEW)
    assert read(fresh(bucket.root, machines)) == NEW


def test_a_reader_whose_version_is_superseded_starts_over(
    store: RemoteStore, bucket: Bucket, machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, OLD)
    download = Objects.download
    late = iter([True, True])

    def overtaken(self: Objects, files: Mapping[str, Path]) -> None:
        if next(late, False):  # Between the pointer and the files, somebody else commits.
            put(store, NEW)
        download(self, files)

    monkeypatch.setattr(Objects, "download", overtaken)
    assert read(fresh(bucket.root, machines)) == NEW


def test_a_version_is_not_switched_to_before_all_of_it_is_there(
    store: RemoteStore, bucket: Bucket, machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, OLD)
    upload = Objects.upload

    def robbed(self: Objects, files: Mapping[str, Path]) -> None:
        upload(self, files)
        bucket.delete(next(name for name in files if name.endswith("a.bin")))

    monkeypatch.setattr(Objects, "upload", robbed)
    with pytest.raises(StorageBusy, match=r"a\.bin is not in .* although it was uploaded"):
        put(store, NEW)
    assert read(fresh(bucket.root, machines)) == OLD


def test_what_a_killed_writer_left_is_removed_after_a_day(
    store: RemoteStore, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, OLD)
    bucket.write("asset/c/20200101T000000Z-killed/a.bin", b"half")
    put(store, NEW)
    assert "20200101T000000Z-killed" in bucket.versions(), "it may still be at work"

    listing = Objects.listing
    a_day_ago = (datetime.now(UTC) - timedelta(days=1, minutes=1)).timestamp()

    def aged(self: Objects, folder: str) -> dict[str, Stored]:
        return {
            name: stored._replace(written=a_day_ago) if "killed" in name else stored
            for name, stored in listing(self, folder).items()
        }

    monkeypatch.setattr(Objects, "listing", aged)
    put(store, OLD)
    assert bucket.versions() == {bucket.version()}


def test_a_pointer_that_comes_late_finds_its_files_again(
    store: RemoteStore, bucket: Bucket, machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointer names a version that another writer has removed.

    The storage applies a write, its answer is lost, another writer switches, and the client sends
    the write again.
    """
    write = Objects.write
    late = iter([True])

    def twice(self: Objects, name: str, content: bytes) -> None:
        write(self, name, content)
        if next(late, False):
            put(fresh(bucket.root, machines), NEW)
            write(self, name, content)

    monkeypatch.setattr(Objects, "write", twice)
    put(store, OLD)
    assert read(fresh(bucket.root, machines)) == OLD
    assert bucket.files() == OLD


def test_a_writer_killed_at_any_change_leaves_the_old_version_or_the_new(
    bucket: Bucket, machines: Path, processes: Any
) -> None:
    seen = []
    for number in range(100):
        category = f"c{number}"
        put(RemoteStore(bucket.root), OLD, category=category)
        writer = processes.Process(
            target=die_at_change,
            args=(bucket.root, machines / "killed", environment(), NEW, category, number),
        )
        writer.start()
        writer.join(60)
        found = read(fresh(bucket.root, machines), category=category)
        assert found in (OLD, NEW)
        seen.append(found == NEW)
        assert writer.exitcode in (0, -9)
        put(fresh(bucket.root, machines), OLD, category=category)
        assert read(fresh(bucket.root, machines), category=category) == OLD
        assert bucket.files(f"asset/{category}") == OLD
        if writer.exitcode == 0:
            break
    # Two to try, and three uploads, come before the pointer; a removal comes after it.
    assert seen == [False] * 6 + [True] * 2
    locks = list((machines / "killed").glob("*/.versions/*/*/*.lock"))
    assert len(locks) <= 1, "the next user of a cache tidies up"


def test_two_writing_processes_never_show_a_mixture(
    bucket: Bucket, machines: Path, processes: Any
) -> None:
    put(RemoteStore(bucket.root), {"a.txt": b"first", "0/b.txt": b"first"})
    writers = [
        processes.Process(
            target=commit_often,
            args=(bucket.root, machines / "shared", environment(), name, 10),
        )
        for name in ("left", "right")
    ]
    for writer in writers:
        writer.start()
    reader = fresh(bucket.root, machines)
    words = set()
    while any(writer.is_alive() for writer in writers):
        found = set(read(reader).values())
        assert len(found) == 1, f"files of different versions: {found}"
        words |= found
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(words) > 2, "the reader has seen the artefact change"
    last = read(fresh(bucket.root, machines))
    assert set(last.values()) <= {b"left-9", b"right-9"}
    assert bucket.files() == last


@pytest.mark.parametrize("superseded", [False, True])
def test_a_shared_file_is_copied_by_the_storage_or_uploaded_where_it_is_gone(
    bucket: Bucket, machines: Path, monkeypatch: pytest.MonkeyPatch, superseded: bool
) -> None:
    put(RemoteStore(bucket.root), OLD)
    uploaded: list[str] = []
    upload = Objects.upload

    def noted(self: Objects, files: Mapping[str, Path]) -> None:
        uploaded.extend(name.rpartition("/")[2] for name in files)
        upload(self, files)

    store = fresh(bucket.root, machines)
    with store.open("asset", "c") as artefact, store.stage("other", "c") as staging:
        staging.share(artefact.folder / "a.bin", "0/same.bin")
        (staging.folder / "own.bin").write_bytes(b"own")
        if superseded:
            put(fresh(bucket.root, machines), NEW)
        monkeypatch.setattr(Objects, "upload", noted)
        staging.commit({})
    assert sorted(uploaded) == sorted(["own.bin", *(["same.bin"] if superseded else [])])
    expected = {"0/same.bin": OLD["a.bin"], "own.bin": b"own"}
    assert read(fresh(bucket.root, machines), "other") == expected
    assert bucket.files("other/c") == expected
