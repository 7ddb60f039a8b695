"""The local store: versions that are switched as a whole, and nothing that stays behind."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from pathlib import Path

import pytest
from store_kit import put
from store_processes import FILES, commit_often

from patchcore_assets.storage import Artefact, MissingArtefact, open_store
from patchcore_assets.storage.local.store import LocalStore


def version_folders(root: Path, asset: str = "asset", category: str = "c") -> list[str]:
    """Return all that lies in an artefact's folder of versions: folders and their locks."""
    return sorted(entry.name for entry in (root / ".versions" / asset / category).iterdir())


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "store"))


def test_an_asset_without_categories_lies_directly_below_the_root(store: LocalStore) -> None:
    put(store, {"table.csv": "1"}, "metrics", None)
    put(store, {"table.csv": "2"}, "metrics", None)
    assert (Path(store.root) / "metrics" / "table.csv").read_text() == "2"
    with store.open("metrics", None) as artefact:
        assert artefact.category is None
    assert store.categories("metrics") == []


def test_a_reader_keeps_its_version_while_a_writer_switches(store: LocalStore) -> None:
    put(store, {"x.txt": "old"})
    with store.open("asset", "c") as held:
        put(store, {"x.txt": "new"})
        assert (held.folder / "x.txt").read_text() == "old"
        with store.open("asset", "c") as current:
            assert (current.folder / "x.txt").read_text() == "new"
        assert (Path(store.root) / "asset" / "c" / "x.txt").read_text() == "new"
        assert held.folder.is_dir()
    put(store, {"x.txt": "newest"})
    assert not held.folder.exists(), "the next writer removes what nobody reads"
    assert len(version_folders(Path(store.root))) == 2, "the current version and its lock"


@pytest.mark.parametrize("removed", ["the version", "all versions"])
def test_a_link_to_a_removed_version_is_a_missing_artefact(store: LocalStore, removed: str) -> None:
    artefact = put(store, {"x.txt": "one"})
    every_version = Path(store.root) / ".versions"
    shutil.rmtree(artefact.folder if removed == "the version" else every_version)
    with pytest.raises(MissingArtefact), store.open("asset", "c"):
        pass
    assert store.categories("asset") == []
    put(store, {"x.txt": "again"})
    assert (Path(store.location("asset", "c")) / "x.txt").read_text() == "again"


def test_data_version_follows_the_content_alone(store: LocalStore) -> None:
    first = put(store, {"x.txt": "one", "0/y.txt": "two"}, category="a")
    time.sleep(0.01)
    same = put(store, {"0/y.txt": "two", "x.txt": "one"}, "another_asset", "b")
    assert same.data_version == first.data_version
    assert same.folder != first.folder
    different = (
        {"x.txt": "one", "0/y.txt": "TWO"},
        {"x.txt": "one", "1/y.txt": "two"},
        {"x.txt": "one"},
        {"x.txt": "two", "0/y.txt": "one"},
    )
    versions = {put(store, files).data_version for files in different}
    assert len(versions | {first.data_version}) == 5


def test_a_store_can_be_moved_as_a_folder(store: LocalStore, tmp_path: Path) -> None:
    put(store, {"x.txt": "one"})
    Path(store.root).rename(tmp_path / "moved")
    moved = open_store(str(tmp_path / "moved"))
    with moved.open("asset", "c") as artefact:
        assert (artefact.folder / "x.txt").read_text() == "one"
    assert moved.categories("asset") == ["c"]


def test_a_version_that_is_being_written_is_left_alone(store: LocalStore) -> None:
    with store.stage("asset", "c") as slow:
        (slow.folder / "x.txt").write_text("slow")
        put(store, {"x.txt": "quick"})
        assert (slow.folder / "x.txt").read_text() == "slow"
        slow.commit({})
    with store.open("asset", "c") as artefact:
        assert (artefact.folder / "x.txt").read_text() == "slow"
    assert len(version_folders(Path(store.root))) == 2


def test_a_version_committed_while_litter_is_sought_is_kept(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"x.txt": "one"})
    current = LocalStore._current
    late = iter([True])

    def overtaken(self: LocalStore, asset: str, category: str | None) -> Path | None:
        found = current(self, asset, category)
        if next(late, False):  # Another process commits and leaves just after this look.
            put(LocalStore(store.root), {"x.txt": "two"})
        return found

    monkeypatch.setattr(LocalStore, "_current", overtaken)
    with pytest.raises(ZeroDivisionError), store.stage("asset", "c"):
        raise ZeroDivisionError
    with store.open("asset", "c") as artefact:
        assert (artefact.folder / "x.txt").read_text() == "two"


def test_two_writing_processes_never_show_a_mixture(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    store = LocalStore(root)
    commit_often(root, "first", 1)
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=commit_often, args=(root, name, 10)) for name in ("left", "right")
    ]
    for writer in writers:
        writer.start()
    seen = set()
    try:
        while any(writer.is_alive() for writer in writers):
            with store.open("asset", "category") as artefact:
                words = {(artefact.folder / name).read_text() for name in FILES}
                assert len(words) == 1, f"files of different versions: {words}"
                described = Artefact.describe("asset", "category", artefact.folder, {})
                assert described.data_version == artefact.data_version
                seen |= words
    finally:
        for writer in writers:
            writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert {word.partition("-")[0] for word in seen} >= {"first"}
    assert len(seen) > 2, "the reader has seen the artefact change"
    place = Path(root) / "asset" / "category"
    assert (place / FILES[0]).read_text() in ("left-9", "right-9")
    commit_often(root, "last", 1)
    assert len(version_folders(Path(root), category="category")) == 2
    assert [entry.name for entry in (Path(root) / "asset").iterdir()] == ["category"]


def test_a_first_version_that_is_made_while_somebody_looks_is_read_whole(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"x.txt": "one"})
    original, looks = LocalStore._current, []

    def not_there_at_first(self: LocalStore, asset: str, category: str | None) -> Path | None:
        looks.append(asset)
        return None if len(looks) == 1 else original(self, asset, category)

    monkeypatch.setattr(LocalStore, "_current", not_there_at_first)
    with store.open("asset", "c") as artefact:
        assert (artefact.folder / "x.txt").read_text() == "one"
        assert ".versions" in artefact.folder.parts, "locked, and not reached through the link"


def test_a_copy_that_followed_links_is_read_and_replaced(store: LocalStore, tmp_path: Path) -> None:
    put(store, {"x.txt": "old"})
    shutil.copytree(Path(store.root, "asset"), tmp_path / "copy" / "asset", symlinks=False)
    copy = LocalStore(str(tmp_path / "copy"))
    with copy.open("asset", "c") as artefact:
        assert (artefact.folder / "x.txt").read_text() == "old"
    put(copy, {"x.txt": "new"})
    with copy.open("asset", "c") as artefact:
        assert (artefact.folder / "x.txt").read_text() == "new"
    assert len(version_folders(Path(copy.root))) == 2
