"""The store behind a URL: the same contract over any file system that fsspec reaches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import fsspec
import pytest
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    OVER_ALL,
    Configure,
    execute,
    failures,
)

from patchcore_assets.storage import (
    Artefact,
    ArtefactStore,
    DamagedArtefact,
    MissingArtefact,
    open_store,
)
from patchcore_assets.storage.remote.store import RemoteStore

FILES = {"x.bin": b"one", "0/y.bin": b"two" * 1000, "0/deep/z.bin": b"", "1/y.bin": b"three"}


def put(
    store: ArtefactStore, files: Mapping[str, bytes], asset: str, category: str | None
) -> Artefact:
    with store.stage(asset, category) as staging:
        for name, content in files.items():
            target = staging.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return staging.commit({"run_id": "a run"})


@pytest.fixture(autouse=True)
def no_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the cache of who runs the tests out of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtefactStore:
    """Return a store in this process's memory, and one at a URL of the local disk."""
    place = f"/{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path / "store")
    opened = open_store(f"{request.param}://{place}")
    assert isinstance(opened, RemoteStore)
    return opened


def test_what_was_written_is_read_again(store: ArtefactStore) -> None:
    written = put(store, FILES, "asset", "c")
    with store.open("asset", "c") as artefact:
        assert {name: (artefact.folder / name).read_bytes() for name in FILES} == FILES
        assert set(artefact.files) == set(FILES)
        assert artefact.data_version == written.data_version
        assert artefact.provenance == {"run_id": "a run"}
    assert not artefact.folder.exists(), "the downloaded copy is gone"


def test_files_lie_at_the_place_of_the_contract(store: ArtefactStore) -> None:
    put(store, FILES, "asset", "c")
    put(store, {"table.csv": b"1"}, "metrics", None)
    assert store.location("asset", "c").startswith(f"{store.root}/asset/c/")
    for url, content in (
        (f"{store.location('asset', 'c')}/0/y.bin", FILES["0/y.bin"]),
        (f"{store.location('metrics', None)}/table.csv", b"1"),
    ):
        with fsspec.open(url) as stream:
            assert stream.read() == content


def test_the_second_version_replaces_the_first(store: ArtefactStore) -> None:
    first = put(store, {"x.bin": b"old"}, "asset", "c")
    second = put(store, {"x.bin": b"new"}, "asset", "c")
    assert second.data_version != first.data_version
    with store.open("asset", "c") as artefact:
        assert (artefact.folder / "x.bin").read_bytes() == b"new"


def test_files_of_the_version_before_are_removed(store: ArtefactStore) -> None:
    put(store, FILES, "asset", "c")
    put(store, {"x.bin": b"one"}, "asset", "c")
    system, place = fsspec.core.url_to_fs(store.location("asset", "c"))
    left = {file.removeprefix(place).lstrip("/") for file in system.find(place)}
    assert left == {"x.bin"}


def test_what_does_not_fit_the_sidecar_is_refused(store: ArtefactStore, tmp_path: Path) -> None:
    put(store, FILES, "asset", "c")
    system, root = fsspec.core.url_to_fs(store.root)
    [file] = (name for name in system.find(root) if name.endswith("/x.bin"))
    system.pipe_file(file, b"two")
    with store.open("asset", "c") as artefact:
        assert (artefact.folder / "x.bin").read_bytes() == b"one", "this machine has it still"
    another = open_store(store.root, cache=tmp_path / "another machine")
    with (
        pytest.raises(DamagedArtefact, match=r"x\.bin .* make the artefact again"),
        another.open("asset", "c"),
    ):
        pass


def test_nothing_is_uploaded_before_the_commit(store: ArtefactStore) -> None:
    put(store, {"x.bin": b"old"}, "asset", "c")
    with pytest.raises(ZeroDivisionError), store.stage("asset", "c") as staging:
        (staging.folder / "x.bin").write_bytes(b"half")
        raise ZeroDivisionError
    assert not staging.folder.exists()
    with store.open("asset", "c") as artefact:
        assert (artefact.folder / "x.bin").read_bytes() == b"old"


def test_a_missing_artefact_names_the_command_that_makes_it(store: ArtefactStore) -> None:
    put(store, FILES, "memory_bank", "screw")
    with pytest.raises(MissingArtefact) as missing, store.open("memory_bank", "bottle"):
        pass
    assert str(missing.value) == (
        f"memory_bank of 'bottle' is not in {store.root}; make it first: "
        "dagster asset materialize -m patchcore_assets --select memory_bank --partition bottle"
    )


def test_categories_are_those_with_an_artefact_sorted(store: ArtefactStore) -> None:
    assert store.categories("asset") == []
    for category in ("screw", "bottle"):
        put(store, {"x.bin": b"1"}, "asset", category)
    put(store, {"x.bin": b"1"}, "metrics", None)
    assert store.categories("asset") == ["bottle", "screw"]
    assert store.categories("metrics") == []


@pytest.mark.usefixtures("pip_weights")
def test_a_whole_benchmark_runs_on_a_remote_root(configure: Configure, tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    config = configure(storage={"root": root})
    result = execute(config, *BY_CATEGORY, *OVER_ALL)
    assert result.success, failures(result)
    store = open_store(root)
    for asset in BY_CATEGORY:
        assert store.categories(asset) == [CATEGORY]
    with store.open("metrics", None) as artefact:
        lines = (artefact.folder / "metrics.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["category", CATEGORY, "Mean"]
    [event] = result.asset_materializations_for_node("metrics")
    assert event.metadata["missing_categories"].value == [OTHER]
    assert event.metadata["location"].value == store.location("metrics", None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["benchmark.yaml"]
