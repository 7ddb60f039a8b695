"""A refused version is kept aside, in a folder and in a bucket, until a good one supersedes it."""

from __future__ import annotations

import fsspec
import pytest
from store_kit import put, read

from patchcore_assets.storage import ArtefactStore, MissingArtefact


def refuse(store: ArtefactStore, content: bytes) -> str:
    with store.stage("asset", "c") as staging:
        (staging.folder / "x.bin").write_bytes(content)
        return staging.refuse({"refused": "it is wrong"})


def test_the_version_before_stays_current(store: ArtefactStore) -> None:
    put(store, {"x.bin": b"good"})
    for content in (b"bad", b"worse"):
        place = refuse(store, content)
        with fsspec.open(f"{place}/x.bin") as file:
            assert file.read() == content
        with fsspec.open(f"{place}/artefact.json", "rt") as file:
            assert '"refused": "it is wrong"' in file.read()
        assert read(store) == {"x.bin": b"good"}
    put(store, {"x.bin": b"better"})
    assert read(store) == {"x.bin": b"better"}
    with pytest.raises(FileNotFoundError), fsspec.open(f"{place}/x.bin") as file:
        file.read()


def test_a_refused_first_version_is_no_version(store: ArtefactStore) -> None:
    refuse(store, b"bad")
    with pytest.raises(MissingArtefact):
        read(store)
    assert store.categories("asset") == []


def test_what_was_made_from_another_version_is_another_version(store: ArtefactStore) -> None:
    versions = []
    for parent in ("1", "1", "2"):
        with store.stage("asset", "c") as staging:
            (staging.folder / "x.bin").write_bytes(b"the same")
            versions.append(staging.commit({}, (), {"parent.c": parent}).data_version)
        with store.open("asset", "c") as artefact:
            assert artefact.data_version == versions[-1]
            assert artefact.made_from == {"parent.c": parent}
    assert versions[0] == versions[1] != versions[2]
