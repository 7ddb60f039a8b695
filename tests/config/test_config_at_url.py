"""A configuration at a URL: read as it is now, with absolute paths, its address a plain one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.snapshot import restore, snapshot
from patchcore_ops.runtime.errors import ConfigError, ConfigOutOfReach

URL = "memory://bucket/site/bench.yaml"
Put = Callable[[str], BenchmarkConfig]


@pytest.fixture
def put() -> Iterator[Put]:
    """Return a function that writes a text to the URL and loads it."""
    system = fsspec.filesystem("memory")

    def put_and_load(text: str) -> BenchmarkConfig:
        system.pipe_file("/bucket/site/bench.yaml", text.encode())
        return load_config(URL)

    yield put_and_load
    system.store.clear()


def test_a_configuration_is_read_at_its_url(put: Put) -> None:
    config = put("dataset: {root: /images}\nstorage: {root: 's3://elsewhere/x', cache: /cache}")
    assert config.path == URL
    assert config.dataset_root == Path("/images")
    assert config.storage_root == "s3://elsewhere/x"
    assert config.storage_cache == Path("/cache")
    assert restore(snapshot(config)) == config
    assert (
        put("dataset: {root: /images}\ncoreset: {seed: 3}").for_category("bottle").coreset.seed == 3
    )


def test_a_relative_storage_root_lies_beside_the_file(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert put("dataset: {root: /i}").storage_root == "memory://bucket/site/storage"
    assert put("dataset: {root: /i}\nstorage: {root: /store}").storage_root == "/store"
    monkeypatch.setenv("PATCHCORE_STORAGE_ROOT", "/from/environment")
    monkeypatch.setenv("PATCHCORE_DATASET_ROOT", "/images")
    config = put("storage: {root: ../x}")
    assert (config.storage_root, config.dataset_root) == ("/from/environment", Path("/images"))


def test_every_other_relative_path_is_a_mistake_of_its_key(put: Put) -> None:
    with pytest.raises(ConfigError) as caught:
        put(
            """
            storage: {root: ../storage, cache: cache}
            embedding: {members: [{weights: /w.pth}, {weights: w.pth}]}
            evaluation: {dataset: more, models: /models}
            tracking: [{kind: tensorboard, folder: events}]
            """
        )
    lines = [line.removeprefix(f"{URL}: ") for line in str(caught.value).splitlines()]
    assert sorted(line.partition(": ")[0] for line in lines) == [
        *("dataset.root", "embedding.members.1.weights", "evaluation.dataset", "storage.cache"),
        *("storage.root", "tracking.0.folder"),
    ]
    assert (
        "dataset.root: must be an absolute path, or set PATCHCORE_DATASET_ROOT, for a "
        "configuration at a URL is in no folder (got 'data/mvtec')"
    ) in lines


def test_mistakes_at_a_url_name_it(put: Put) -> None:
    with pytest.raises(ConfigError, match=rf"^{URL}: no such configuration file; set PATCHCORE_"):
        load_config(URL)
    with pytest.raises(ConfigError, match=rf"^{URL}: not valid YAML"):
        put("a: [")
    with pytest.raises(ConfigError, match=rf"^{URL}: 'tile' is not one of"):
        put("dataset: {root: /i, categories: [a]}").for_category("tile")
    with pytest.raises(ConfigError, match="nothing here speaks the protocol 'nosuch'; install"):
        load_config("nosuch://x/bench.yaml")


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:SECRET@bucket/bench.yaml",
        "s3://SECRET@bucket/bench.yaml",
        "s3://bucket/bench.yaml?X-Amz-Signature=SECRET",
        "https://host/bench.yaml?X-Amz-Signature=SECRET",
        "https://SECRET@host/bench.yaml",
    ],
)
def test_credentials_in_the_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^the configuration's URL holds credentials") as caught:
        load_config(url)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (ConnectionResetError("SECRET"), ConfigOutOfReach, "see that its storage can be reached"),
        (PermissionError("SECRET"), ConfigError, "see that the credentials in use may read it"),
    ],
)
def test_a_storage_that_fails_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type[ConfigError], words: str
) -> None:
    def cat_file(*_: object, **__: object) -> bytes:
        raise raised

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    with pytest.raises(ConfigError) as caught:
        load_config(URL)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{URL}: cannot be read ({type(raised).__name__}); {words}")
