"""The local store when its disk is full or fails, its writer dies, or the clock jumps."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from rights_kit import closed
from store_kit import put

from patchcore_assets.storage import DamagedArtefact, MissingArtefact, StorageProblem
from patchcore_assets.storage.local import store as local_module
from patchcore_assets.storage.local.store import LocalStore
from patchcore_ops.runtime.arrays import save_array
from patchcore_ops.scoring.index_file import write_index


def text_of(store: LocalStore, category: str = "c") -> str:
    with LocalStore(store.root).open("asset", category) as artefact:
        return (artefact.folder / "0" / "x.txt").read_text()


def entries(store: LocalStore) -> list[str]:
    """Return the links and all that lies beside version folders, without their names."""
    versions = Path(store.root, ".versions", "asset")
    beside = [f"{entry.parent.name}/{entry.suffix}" for entry in versions.glob("*/*")]
    return sorted([entry.name for entry in Path(store.root, "asset").iterdir()] + beside)


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Return a setter of the size at which this process's files are cut, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def array(folder: Path) -> Path:
    save_array(folder / "array.npy", np.arange(10_000, dtype=np.int64))
    return folder / "array.npy"


def index(folder: Path) -> Path:
    flat = faiss.IndexFlatL2(32)
    flat.add(np.ones((1_000, 32), dtype=np.float32))
    write_index(flat, folder / "index.faiss")
    return folder / "index.faiss"


@pytest.mark.parametrize("write", [array, index])
def test_no_byte_is_lost_silently_where_the_last_ones_do_not_fit(
    tmp_path: Path, largest_file: Callable[[int], None], write: Callable[[Path], Path]
) -> None:
    size = write(tmp_path).stat().st_size
    for limit in (size - 1, size // 2, 1):
        largest_file(limit)
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path)
    largest_file(size)
    assert write(tmp_path).stat().st_size == size


@pytest.mark.parametrize("shape", [(0, 3), (5, 2), (7,)])
@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_an_array_is_saved_as_numpy_saves_it(
    tmp_path: Path, shape: tuple[int, ...], kind: type
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    save_array(tmp_path / "ours.npy", values)
    np.save(tmp_path / "numpys.npy", values)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()
    save_array(tmp_path / "ours.npy", np.asfortranarray(values))
    assert np.array_equal(np.load(tmp_path / "ours.npy", allow_pickle=False), values)


def test_a_full_disk_is_one_sentence_and_spares_the_version_before(
    store: LocalStore, largest_file: Callable[[int], None]
) -> None:
    put(store, {"0/x.txt": "old"})
    largest_file(1000)
    with pytest.raises(StorageProblem) as problem:
        put(store, {"0/x.txt": "x" * 2000})
    largest_file(resource.RLIM_INFINITY)
    sentence = str(problem.value)
    assert sentence.startswith(
        f"{store.root}: a file of asset of 'c' is larger than files may be ("
    )
    assert " MB free); raise the limit (ulimit -f), then run again" in sentence
    assert text_of(store) == "old"
    assert entries(store) == ["c", "c/", "c/.lock"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPERM, "the file system lacks locks or symbolic links (Operation not supp"),
        (errno.EOPNOTSUPP, "the file system lacks locks or symbolic links (Operation not supp"),
        (errno.EACCES, "cannot be written (Permission denied); give the user"),
        (errno.ENOSPC, "no room left while asset of 'c' was written (No space left on device; "),
    ],
)
def test_a_disk_that_takes_no_link_is_said_in_one_sentence(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """FAT and exFAT answer so, and network shares; the numbers are those of Linux."""

    def refuse(source: str, target: Path, target_is_directory: bool = False) -> None:
        raise OSError(number, os.strerror(number), source, None, str(target))

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(StorageProblem) as problem:
        put(store, {"0/x.txt": "new"})
    assert said in str(problem.value)
    assert str(problem.value).startswith(f"{store.root}/asset/.c.")
    monkeypatch.undo()
    put(store, {"0/x.txt": "new"})
    assert text_of(store) == "new"


@pytest.mark.parametrize("hours", [-1000, 1000])
def test_a_clock_that_jumps_changes_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + timedelta(hours=hours)

    put(store, {"0/x.txt": "one"})
    monkeypatch.setattr(local_module, "datetime", Jumped)
    put(store, {"0/x.txt": "two"})
    assert text_of(store) == "two"
    monkeypatch.undo()
    assert text_of(store) == "two"
    put(store, {"0/x.txt": "three"})
    assert text_of(store) == "three"
    assert entries(store) == ["c", "c/", "c/.lock"]


def die_at(root: str, step: str, text: str) -> None:
    """Write a version and die at the first call of a method of Path, before it takes place."""
    setattr(Path, step, lambda *_: os._exit(9))
    put(LocalStore(root), {"0/x.txt": text})


@pytest.mark.parametrize("step", ["symlink_to", "replace"])
def test_what_a_killed_writer_left_goes_with_the_next_run_of_any_category(
    store: LocalStore, step: str
) -> None:
    put(store, {"0/x.txt": "old"})
    killed = multiprocessing.get_context("spawn").Process(
        target=die_at, args=(store.root, step, "new")
    )
    killed.start()
    killed.join(timeout=60)
    assert killed.exitcode == 9
    assert text_of(store) == "old"
    assert store.categories("asset") == ["c"]
    put(store, {"0/x.txt": "other"}, category="d")
    assert entries(store) == ["c", "c/", "c/.lock", "d", "d/", "d/.lock"]
    assert text_of(store) == "old"


def test_all_is_on_the_disk_before_the_switch_and_the_switch_before_the_removal(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"0/x.txt": "old"})
    link = Path(store.root, "asset", "c")
    before = link.resolve()
    done: list[tuple[str, bool, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        done.append((name, link.resolve() == before, before.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    put(store, {"0/x.txt": "new"})
    after = link.resolve()
    first = {name for name, is_old, _ in done if is_old}
    second = {name for name, is_old, _ in done if not is_old}
    written = {after, after / "0", after / "0" / "x.txt", after / "artefact.json", after.parent}
    assert {str(one) for one in written} <= first
    assert str(link.parent) in second
    assert all(is_there for _, _, is_there in done)
    assert not before.exists()


def test_a_disk_that_fails_to_take_a_file_keeps_the_version_before(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"0/x.txt": "old"})

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageProblem, match="the disk failed while asset of 'c' was written"):
        put(store, {"0/x.txt": "new"})
    monkeypatch.undo()
    assert text_of(store) == "old"
    assert entries(store) == ["c", "c/", "c/.lock"]


def test_a_storage_of_another_user_is_said_in_one_sentence(store: LocalStore) -> None:
    put(store, {"0/x.txt": "theirs"})
    said = r"cannot be read \(Permission denied\); give the user of this process the right to read"
    with closed(Path(store.root)):
        with pytest.raises(StorageProblem, match=said), store.open("asset", "c"):
            pass
        with pytest.raises(StorageProblem, match=said):
            store.categories("asset")
    assert text_of(store) == "theirs"


def test_an_artefact_that_vanishes_is_missing_or_damaged(store: LocalStore) -> None:
    put(store, {"0/x.txt": "old"})
    with pytest.raises(DamagedArtefact), store.open("asset", "c") as artefact:
        (artefact.folder / "artefact.json").unlink()
        (artefact.folder / "0" / "x.txt").unlink()
        raise ValueError
    (artefact.folder / "0").rmdir()
    artefact.folder.rmdir()
    with pytest.raises(MissingArtefact), store.open("asset", "c"):
        pass
