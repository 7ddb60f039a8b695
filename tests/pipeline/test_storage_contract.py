"""What every store does: in a folder, behind any URL that fsspec reaches."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest
from store_kit import put, read

from patchcore_assets.storage import (
    ArtefactStore,
    DamagedArtefact,
    MissingArtefact,
    open_store,
)

FILES = {"x.bin": b"one", "0/y.bin": b"two" * 1000, "0/deep/z.bin": b"", "1/y.bin": b"three"}


@pytest.fixture(params=["folder", "memory", "local"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtefactStore:
    """Return a store in a folder, in this process's memory, and at a URL of the local disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = f"/{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path / "store")
    return open_store(place if request.param == "folder" else f"{request.param}://{place}")


def test_what_was_written_is_read_again(store: ArtefactStore) -> None:
    written = put(store, FILES)
    assert read(store) == FILES
    with store.open("asset", "c") as artefact:
        assert artefact.data_version == written.data_version
        assert artefact.provenance == {"run_id": "a run"}


def test_people_find_the_files_at_the_location(store: ArtefactStore) -> None:
    for asset, category in (("asset", "c"), ("metrics", None)):
        with store.stage(asset, category) as staging:
            (staging.folder / "0").mkdir()
            (staging.folder / "0" / "x.bin").write_bytes(b"one")
            staging.commit({})
        assert store.location(asset, category) == staging.location
        with fsspec.open(f"{staging.location}/0/x.bin") as stream:
            assert stream.read() == b"one"


def test_the_next_version_replaces_the_first_as_a_whole(store: ArtefactStore) -> None:
    first = put(store, FILES)
    before = store.location("asset", "c")
    second = put(store, {"x.bin": b"new"})
    assert second.data_version != first.data_version
    assert read(store) == {"x.bin": b"new"}
    system, place = fsspec.core.url_to_fs(before)
    left = system.find(place) if system.exists(place) else []
    assert not [file for file in left if file.endswith("y.bin")]


def test_another_content_than_was_written_is_refused(store: ArtefactStore, tmp_path: Path) -> None:
    put(store, FILES)
    system, place = fsspec.core.url_to_fs(store.location("asset", "c"))
    system.pipe_file(f"{place}/x.bin", b"two")
    elsewhere = open_store(store.root, cache=tmp_path / "another machine")
    with pytest.raises(DamagedArtefact, match=r"x\.bin \(another .* make the artefact again"):
        read(elsewhere)


def test_what_was_not_committed_is_not_there(store: ArtefactStore) -> None:
    for before in ({}, {"x.bin": b"old"}):
        if before:
            put(store, before)
        with pytest.raises(ZeroDivisionError), store.stage("asset", "c") as staging:
            (staging.folder / "x.bin").write_bytes(b"half")
            raise ZeroDivisionError
        assert not staging.folder.exists()
        assert store.categories("asset") == (["c"] if before else [])
        if before:
            assert read(store) == before


def test_a_missing_artefact_names_the_command_that_makes_it(store: ArtefactStore) -> None:
    put(store, FILES, "memory_bank", "screw")
    with pytest.raises(MissingArtefact) as missing:
        read(store, "memory_bank", "bottle")
    assert str(missing.value) == (
        f"memory_bank of 'bottle' is not in {store.root}; make it first: "
        "dagster asset materialize -m patchcore_assets --select memory_bank --partition bottle"
    )
    with pytest.raises(MissingArtefact, match=r"--select metrics$"):
        read(store, "metrics", None)


def test_a_removed_artefact_is_missing(store: ArtefactStore) -> None:
    put(store, FILES)
    with store.open("asset", "c") as artefact:
        store.remove("asset", "c")
        assert (artefact.folder / "x.bin").read_bytes() == b"one", "who reads it goes on"
    store.remove("asset", "c")
    with pytest.raises(MissingArtefact):
        read(store)
    assert store.categories("asset") == []
    system, place = fsspec.core.url_to_fs(store.root)
    assert not system.exists(place) or system.find(place) == [], "without a trace"


def test_categories_are_those_with_an_artefact_sorted(store: ArtefactStore) -> None:
    assert store.categories("asset") == []
    for category in ("screw", "bottle", "metal_nut"):
        put(store, {"x.bin": b"1"}, category=category)
    put(store, {"x.bin": b"1"}, "metrics", None)
    assert store.categories("asset") == ["bottle", "metal_nut", "screw"]
    assert store.categories("metrics") == []


def test_a_file_is_shared_between_artefacts(store: ArtefactStore) -> None:
    put(store, FILES)
    with store.open("asset", "c") as artefact, store.stage("other", "c") as staging:
        staging.share(artefact.folder / "0" / "y.bin", "deep/same.bin")
        (staging.folder / "own.bin").write_bytes(b"own")
        staging.commit({})
    expected = {"deep/same.bin": FILES["0/y.bin"], "own.bin": b"own"}
    assert read(store, "other") == expected
    # Neither depends on the other from then on.
    put(store, {"x.bin": b"new"})
    assert read(store, "other") == expected
    store.remove("other", "c")
    assert read(store) == {"x.bin": b"new"}


def test_days_of_a_category_are_artefacts_of_their_own(store: ArtefactStore) -> None:
    for day in ("2026-03-02", "2026-03-01"):
        for content in (b"first", day.encode()):
            with store.stage("asset", f"c/{day}") as staging:
                (staging.folder / "x.bin").write_bytes(content)
                staging.commit({})
    # Whoever writes next clears away what nobody needs, and nothing else.
    put(store, FILES, category="d")
    assert store.days("asset", "c") == ["2026-03-01", "2026-03-02"]
    assert store.categories("asset") == ["d"]
    with store.open("asset", "c/2026-03-01") as artefact:
        assert (artefact.folder / "x.bin").read_bytes() == b"2026-03-01"
        assert artefact.category == "c/2026-03-01"
    with (
        pytest.raises(MissingArtefact, match=r"--select asset --partition 'c\|2026-03-03'$"),
        store.open("asset", "c/2026-03-03"),
    ):
        pass
    store.remove("asset", "c/2026-03-01")
    assert store.days("asset", "c") == ["2026-03-02"]
    assert store.days("asset", "e") == []
