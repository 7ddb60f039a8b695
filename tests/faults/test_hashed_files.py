"""What a process has hashed it does not hash again, unless it may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from patchcore_assets.storage import DamagedArtefact, HashedFiles
from patchcore_assets.storage import hashed as hashed_module
from patchcore_assets.storage.local.store import LocalStore
from patchcore_ops.runtime.fingerprints import file_hash

FILES = ("features.npy", "grid.json", "indices.npy")


def put(store: LocalStore) -> None:
    with store.stage("memory_bank", "bottle") as staging:
        for name in FILES:
            (staging.folder / name).write_text(name)
        staging.commit({})


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "store"))


def flip_a_bit(file: Path) -> None:
    """Change one bit and nothing else that shows: neither size nor time."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


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
    put(LocalStore(store.root, hashes))
    assert sorted(hashing.files) == sorted(FILES)
    for _ in range(3):
        with LocalStore(store.root, hashes).open("memory_bank", "bottle") as artefact:
            artefact.verify()
    assert len(hashing.files) == 3
    with LocalStore(store.root).open("memory_bank", "bottle"):
        assert len(hashing.files) == 6, "another process's store trusts nobody"


def test_what_a_version_shares_with_the_one_that_it_replaces_is_not_hashed_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    hashing = Hashing(monkeypatch)
    hashes = HashedFiles()
    own = LocalStore(store.root, hashes)
    with (
        own.stage("memory_bank", "bottle") as staging,
        own.open("memory_bank", "bottle") as earlier,
    ):
        for name in FILES:
            staging.share(earlier.folder / name, name)
        staging.commit({})
    assert len(list(Path(store.root, ".versions", "memory_bank", "bottle").glob("*.lock"))) == 1
    hashing.files.clear()
    with own.open("memory_bank", "bottle") as shared:
        assert hashing.files == []
        flip_a_bit(shared.folder / FILES[1])
        with pytest.raises(DamagedArtefact, match=FILES[1]):
            shared.verify()
    assert hashing.files == [FILES[1]]


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
