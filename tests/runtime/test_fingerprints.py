"""Versions of folders follow content alone, and what is remembered never gives a wrong one."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from patchcore_ops.runtime import fingerprints
from patchcore_ops.runtime.fingerprints import (
    ABSENT,
    FileHashes,
    OutOfTime,
    file_hash,
    folder_version,
)

CATEGORY = "nut"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a dataset whose one category has four files, one of them no image."""
    for name in ("train/good/b.png", "train/good/a.png", "test/cut/10.png", "notes.txt"):
        file = tmp_path / "data" / CATEGORY / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"content of {name}".encode())
    return tmp_path / "data"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory" / CATEGORY


@pytest.fixture
def fine_clock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust files that were 20 ms old when they were hashed; those of `root` are older."""
    monkeypatch.setattr(fingerprints, "CLOCK_GRANULARITY_NS", 20_000_000)
    time.sleep(0.03)


def literal_version(root: Path) -> str:
    """The definition: SHA-256 over names and hashes of all files, in the order of their paths."""
    folder = root / CATEGORY
    text = b""
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix().encode()
        text += name + b"\0" + hashlib.sha256(file.read_bytes()).hexdigest().encode() + b"\0"
    return hashlib.sha256(text).hexdigest()[:16]


def remembered_version(root: Path, memory: Path) -> tuple[str, int]:
    """Return the version by remembered hashes, and how many files had to be read."""
    with FileHashes(memory) as hashes:
        return folder_version(root, CATEGORY, hashes), hashes.hashed


def test_the_version_follows_the_definition_not_times_or_place(root: Path, memory: Path) -> None:
    expected = literal_version(root)
    assert folder_version(root, CATEGORY) == expected
    assert remembered_version(root, memory) == (expected, 4)
    assert folder_version(root, "bolt") == ABSENT
    os.utime(root / CATEGORY / "notes.txt", (1, 1))
    assert folder_version(root, CATEGORY) == expected
    (root / CATEGORY).rename(root / "moved")
    assert folder_version(root, "moved") == expected


@pytest.mark.parametrize("change", ["content", "name", "added", "removed", "moved", "odd name"])
@pytest.mark.usefixtures("fine_clock")
def test_the_version_changes_with_every_content(root: Path, memory: Path, change: str) -> None:
    before, _ = remembered_version(root, memory)
    file = root / CATEGORY / "train/good/a.png"
    status = file.stat()
    if change == "content":
        file.write_bytes(file.read_bytes().swapcase())
        # The size is the same, and so is the time of the modification.
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "name":
        file.rename(file.with_name("c.png"))
    elif change == "added":
        file.with_name("c.png").write_bytes(b"more")
    elif change == "removed":
        file.unlink()
    elif change == "moved":
        file.rename(root / CATEGORY / "test/cut/a.png")
    elif change == "odd name":
        file.rename(file.with_name(os.fsdecode(b"\xff\n.png")))
    after, _ = remembered_version(root, memory)
    assert after != before
    if change != "odd name":
        assert after == literal_version(root)
    assert after == folder_version(root, CATEGORY)
    if change in ("name", "moved"):
        assert "train/good/a.png" not in memory.read_text(encoding="utf-8"), "gone, so forgotten"


@pytest.mark.usefixtures("fine_clock")
def test_an_unchanged_file_is_read_once(root: Path, memory: Path) -> None:
    version, read = remembered_version(root, memory)
    assert read == 4
    assert remembered_version(root, memory) == (version, 0)
    os.utime(root / CATEGORY / "notes.txt", (1, 1))
    time.sleep(0.03)
    assert remembered_version(root, memory) == (version, 1), "touched: read again, same version"
    assert remembered_version(root, memory) == (version, 0)


def test_a_file_that_was_young_when_hashed_is_not_trusted(root: Path, memory: Path) -> None:
    # These files are younger than the clock's granularity: a change could leave their times alone.
    version, _ = remembered_version(root, memory)
    assert remembered_version(root, memory) == (version, 4)


@pytest.mark.usefixtures("fine_clock")
@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "a wrong hash", "another kind"])
def test_a_damaged_memory_is_rebuilt(root: Path, memory: Path, damage: str) -> None:
    version, _ = remembered_version(root, memory)
    good = memory.read_bytes()
    digest = file_hash(root / CATEGORY / "notes.txt").encode()
    damaged = {
        "empty": b"",
        "garbage": b"\xff\x00 not what was written",
        "cut": good[:-20],
        "a wrong hash": good.replace(digest, digest[::-1]),
        "another kind": hashlib.sha256(b"[1]").hexdigest().encode() + b"\n[1]",
    }[damage]
    assert damaged != good
    memory.write_bytes(damaged)
    assert remembered_version(root, memory) == (version, 4)
    assert remembered_version(root, memory) == (version, 0)
    assert [file.name for file in memory.parent.iterdir()] == [memory.name], "nothing temporary"


def test_a_memory_that_cannot_be_written_costs_only_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    memory = tmp_path / "file" / "memory"
    assert remembered_version(root, memory) == (literal_version(root), 4)


@pytest.mark.usefixtures("fine_clock")
def test_hashing_goes_on_where_the_time_was_over(root: Path, memory: Path) -> None:
    rounds = 0
    while True:
        rounds += 1
        try:
            with FileHashes(memory, until=time.monotonic()) as hashes:
                version = folder_version(root, CATEGORY, hashes)
            break
        except OutOfTime:
            assert hashes.hashed == 1
    assert rounds == 4, "one file a round, and the last one ends it"
    assert version == literal_version(root)


def test_within_one_use_a_file_keeps_its_hash(root: Path, memory: Path) -> None:
    file = root / CATEGORY / "notes.txt"
    with FileHashes(memory) as hashes:
        before = hashes(file)
        file.write_bytes(b"changed meanwhile")
        assert hashes(file) == before
    with FileHashes(memory) as hashes:
        assert hashes(file) == file_hash(file) != before


def test_linked_folders_count_and_circles_end(root: Path, tmp_path: Path) -> None:
    before = folder_version(root, CATEGORY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / CATEGORY / "test" / "bent").symlink_to(elsewhere)
    (root / CATEGORY / "circle").symlink_to(root / CATEGORY)
    (root / CATEGORY / "itself").symlink_to(root / CATEGORY / "itself")
    (root / CATEGORY / "nowhere").symlink_to(tmp_path / "nowhere")
    assert folder_version(root, CATEGORY) == before
    (elsewhere / "0.png").write_bytes(b"an image")
    assert folder_version(root, CATEGORY) != before


def test_a_file_that_may_not_be_read_counts_by_its_name(root: Path) -> None:
    def refused(file: Path) -> str:
        if file.name == "notes.txt":
            raise PermissionError(13, "Permission denied", str(file))
        return file_hash(file)

    version = folder_version(root, CATEGORY, refused)
    assert version != folder_version(root, CATEGORY)
    assert version == folder_version(root, CATEGORY, refused)
