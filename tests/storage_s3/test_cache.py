"""The cache keeps its limit, its users' artefacts, and nothing that is not what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_proxy import Proxy
from s3_kit import OLD, Bucket
from store_kit import put, read

from patchcore_assets.storage.remote.cache import ArtefactCache
from patchcore_assets.storage.remote.errors import StorageRefused
from patchcore_assets.storage.remote.store import RemoteStore


def files(folder: Path) -> list[Path]:
    """Return what is cached, without links and sidecars."""
    return [
        file
        for file in folder.glob("*/.versions/**/*")
        if file.is_file() and file.suffix not in (".json", ".lock")
    ]


def test_the_least_recently_used_go_first(bucket: Bucket, tmp_path: Path, proxy: Proxy) -> None:
    store = RemoteStore(bucket.root, ArtefactCache(tmp_path / "cache", limit=3500))
    contents = {name: {"x.bin": name.encode() * 1000} for name in "abcde"}
    for name in "abc":
        put(store, contents[name], category=name)
    assert read(store, category="a") == contents["a"], "using it makes it the latest"
    for name in "de":
        put(store, contents[name], category=name)
    held = {file.read_text()[0] for file in files(tmp_path / "cache")}
    # Beside a thousand bytes, each has a sidecar of some hundreds.
    assert held == {"d", "e"}


def test_an_artefact_in_use_outlives_its_removal(bucket: Bucket, tmp_path: Path) -> None:
    store = RemoteStore(bucket.root, ArtefactCache(tmp_path / "cache", limit=0))
    put(store, OLD)
    with store.open("asset", "c") as artefact:
        put(store, {"x.bin": b"x"}, category="d")
        assert read(store) == OLD
        assert (artefact.folder / "a.bin").read_bytes() == OLD["a.bin"]
    put(store, {"x.bin": b"y"}, category="d")
    assert files(tmp_path / "cache") == [], (
        "an artefact larger than the limit is used and forgotten"
    )


@pytest.mark.parametrize("damage", [b"shorter", b"x" * 60])
def test_a_file_changed_behind_its_back_is_fetched_anew(
    bucket: Bucket, tmp_path: Path, damage: bytes
) -> None:
    put(RemoteStore(bucket.root, ArtefactCache(tmp_path / "cache")), OLD)
    for file in files(tmp_path / "cache"):
        file.write_bytes(damage)
    assert read(RemoteStore(bucket.root, ArtefactCache(tmp_path / "cache"))) == OLD


def test_a_second_process_downloads_nothing(bucket: Bucket, tmp_path: Path, proxy: Proxy) -> None:
    put(RemoteStore(bucket.root, ArtefactCache(tmp_path / "cache")), OLD)
    proxy.forget()
    # A cache that knows nothing of what the first one has hashed, as in another process.
    assert read(RemoteStore(bucket.root, ArtefactCache(tmp_path / "cache"))) == OLD
    assert [request.path.rpartition("/")[2] for request in proxy.requests] == ["artefact.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageRefused, match=r"name another folder in storage\.cache"):
        ArtefactCache(tmp_path / "file" / "cache")
