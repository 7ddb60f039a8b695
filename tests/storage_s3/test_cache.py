"""The cache keeps its limit, its users' files, and nothing that is not what it should be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from faulty_proxy import Proxy
from s3_kit import OLD, Bucket, put, read

from patchcore_assets.storage.remote.cache import FileCache
from patchcore_assets.storage.remote.errors import StorageRefused
from patchcore_assets.storage.remote.store import RemoteStore


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def add(cache: FileCache, content: bytes) -> str:
    digest = digest_of(content)
    with cache.work_folder() as folder:
        (folder / "file").write_bytes(content)
        cache.add(folder / "file", digest)
    return digest


def has(cache: FileCache, content: bytes) -> bool:
    with cache.work_folder() as folder:
        return cache.take(digest_of(content), len(content), folder / "file")


def stored_bytes(cache: FileCache) -> int:
    return sum(
        file.stat().st_size for file in (cache.folder / "files").rglob("*") if file.is_file()
    )


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", limit=30)
    contents = [bytes([number]) * 10 for number in range(5)]
    for content in contents[:3]:
        add(cache, content)
    assert has(cache, contents[0]), "using it makes it the latest"
    for content in contents[3:]:
        add(cache, content)
    assert stored_bytes(cache) == 30
    assert [has(cache, content) for content in contents] == [True, False, False, True, True]


def test_a_file_in_use_outlives_its_removal(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", limit=10)
    add(cache, b"a" * 10)
    with cache.work_folder() as folder:
        assert cache.take(digest_of(b"a" * 10), 10, folder / "mine")
        add(cache, b"b" * 10)
        assert not has(cache, b"a" * 10)
        assert (folder / "mine").read_bytes() == b"a" * 10
    assert stored_bytes(cache) == 10


def test_a_file_larger_than_the_limit_is_used_and_forgotten(
    bucket: Bucket, tmp_path: Path, proxy: Proxy
) -> None:
    store = RemoteStore(bucket.root, FileCache(tmp_path / "cache", limit=8))
    put(store, OLD)
    assert read(store) == OLD
    assert stored_bytes(FileCache(tmp_path / "cache")) <= 8


@pytest.mark.parametrize("damage", [b"", b"shorter", b"x" * 60])
def test_a_file_changed_behind_its_back_is_fetched_anew(
    bucket: Bucket, tmp_path: Path, damage: bytes
) -> None:
    put(RemoteStore(bucket.root, FileCache(tmp_path / "cache")), OLD)
    for file in (tmp_path / "cache" / "files").rglob("*"):
        if file.is_file():
            file.chmod(0o644)
            file.write_bytes(damage)
    assert read(RemoteStore(bucket.root, FileCache(tmp_path / "cache"))) == OLD


def test_a_second_process_downloads_nothing(bucket: Bucket, tmp_path: Path, proxy: Proxy) -> None:
    put(RemoteStore(bucket.root, FileCache(tmp_path / "cache")), OLD)
    proxy.forget()
    # A cache that knows nothing of what the first one has hashed, as in another process.
    assert read(RemoteStore(bucket.root, FileCache(tmp_path / "cache"))) == OLD
    assert [request.path.rpartition("/")[2] for request in proxy.requests] == ["artefact.json"]


def test_work_folders_of_killed_processes_go(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache")
    (cache.folder / "steps" / "killed").mkdir()
    (cache.folder / "steps" / "killed" / "half").write_bytes(b"half")
    (cache.folder / "steps" / "killed.lock").touch()
    with cache.work_folder() as folder:
        assert [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] == [folder.name]
    assert not list((cache.folder / "steps").iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageRefused, match=r"name another folder in storage\.cache"):
        FileCache(tmp_path / "file" / "cache")
