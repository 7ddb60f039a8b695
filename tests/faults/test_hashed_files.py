"""What a process has hashed it does not hash again, unless it may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from store_kit import flip_a_bit, put

from patchcore_assets.storage import DamagedArtefact, HashedFiles
from patchcore_assets.storage import hashed as hashed_module
from patchcore_assets.storage.local.store import LocalStore
from patchcore_ops.runtime.fingerprints import file_hash

FILES = {name: name for name in ("features.npy", "grid.json", "indices.npy")}


class Hashing:
    """Counts the files that are really read for their checksum."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        monkeypatch.setattr(hashed_module, "file_hash", self._hash)

    def _hash(self, file: Path) -> str:
        self.files.append(file.name)
        return file_hash(file)


def test_what_a_process_has_written_it_does_not_hash_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing = Hashing(monkeypatch)
    hashes = HashedFiles()
    put(LocalStore(store.root, hashes), FILES)
    assert sorted(hashing.files) == sorted(FILES)
    for _ in range(3):
        with LocalStore(store.root, hashes).open("asset", "c") as artefact:
            artefact.verify()
    assert len(hashing.files) == 3
    with LocalStore(store.root).open("asset", "c"):
        assert len(hashing.files) == 6, "another process's store trusts nobody"


def test_what_a_version_shares_with_the_one_that_it_replaces_is_not_hashed_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, FILES)
    hashing = Hashing(monkeypatch)
    hashes = HashedFiles()
    own = LocalStore(store.root, hashes)
    with (
        own.stage("asset", "c") as staging,
        own.open("asset", "c") as earlier,
    ):
        for name in FILES:
            staging.share(earlier.folder / name, name)
        staging.commit({})
    assert len(list(Path(store.root, ".versions", "asset", "c").glob("*.lock"))) == 1
    hashing.files.clear()
    with own.open("asset", "c") as shared:
        assert hashing.files == []
        flip_a_bit(shared.folder / "grid.json")
        with pytest.raises(DamagedArtefact, match=r"grid\.json"):
            shared.verify()
    assert hashing.files == ["grid.json"]


def test_whatever_changes_a_file_has_it_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    hashes = HashedFiles()
    settled = time.time_ns() + 10**9
    first = hashes.hash(file, settled)
    flip_a_bit(file)
    second = hashes.hash(file, settled)
    assert second == file_hash(file) != first
    before = file.stat()
    replacement = tmp_path / "replacement"
    replacement.write_bytes(b"two")
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(file)
    assert hashes.hash(file, settled) == file_hash(file) != second


def test_after_a_clock_has_gone_back_files_are_hashed_again_rather_than_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() - 3600 * 10**9)
    hashes = HashedFiles()
    first = hashes(file)
    file.write_bytes(b"two")
    assert hashes(file) == file_hash(file) != first
