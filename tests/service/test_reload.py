"""A model that is switched is served at once; one that cannot be loaded replaces nothing."""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from model_kit import Benchmarked
from service_kit import PREDICT, Service, copy_of, serving

from patchcore_assets.storage.local.store import LocalStore
from patchcore_ops.service.served_models import ServedModels
from patchcore_ops.service.settings import ServiceSettings


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "storage"))


@pytest.fixture
def stored(store: LocalStore, models: Path) -> Iterator[Service]:
    """Serve a model out of the benchmark's own storage."""
    commit(store, models, 0.01)
    settings = ServiceSettings(Path(store.root) / "model", poll_seconds=0.05)
    with serving(settings) as running:
        yield running


def commit(store: LocalStore, models: Path, rate: float) -> str:
    """Store the model anew, as the asset does; return its version."""
    with store.stage("model", "fabric_a") as staging:
        description = copy_of(models / "fabric_a", staging.folder, rate)
        staging.commit({})
    return description.sha256


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def version_of(service: Service) -> str:
    return str(service.ask("/v1/models").json["models"][0]["version"])


def test_a_switch_drops_no_request(
    stored: Service, store: LocalStore, models: Path, single: Benchmarked
) -> None:
    image = single.images[0].read_bytes()
    answers: list[tuple[int, str]] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            answer = stored.ask(PREDICT, image)
            answers.append((answer.status, answer.json.get("model_version", "")))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    versions = [version_of(stored)]
    for rate in (0.02, 0.03):
        versions.append(commit(store, models, rate))
        wait_for(lambda: answers[-1][1] == versions[-1])
    stopped.set()
    for client in clients:
        client.join()
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == set(versions)
    metrics = stored.ask("/metrics").body.decode()
    assert [line.split('"')[3] for line in metrics.splitlines() if "patchcore_model{" in line] == [
        versions[-1]
    ]


def test_a_bad_model_replaces_nothing_and_is_tried_again(
    stored: Service, store: LocalStore, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = version_of(stored)
    with caplog.at_level(logging.ERROR), store.stage("model", "fabric_a") as staging:
        copy_of(models / "fabric_a", staging.folder, 0.05)
        index = staging.folder / "0" / "index.faiss"
        whole = index.read_bytes()
        index.write_bytes(whole[:-1])
        staging.commit({})
        wait_for(lambda: "index.faiss: has" in caplog.text)
    assert "fabric_a: cannot be loaded; the version before stays: " in caplog.text
    assert version_of(stored) == before
    assert stored.ask("/health/ready").status == 200
    # As when files of a plain folder are copied one after the other.
    (Path(store.root) / "model" / "fabric_a" / "0" / "index.faiss").write_bytes(whole)
    wait_for(lambda: version_of(stored) != before)
    assert caplog.text.count("cannot be loaded") == 1


def test_a_new_category_is_served_and_one_that_goes_away_stays(
    stored: Service, store: LocalStore, models: Path
) -> None:
    shutil.copytree(models / "fabric_a", Path(store.root) / "model" / "fabric_b")
    wait_for(lambda: len(stored.ask("/v1/models").json["models"]) == 2)
    store.remove("model", "fabric_a")
    time.sleep(0.2)
    assert [one["category"] for one in stored.ask("/v1/models").json["models"]] == [
        "fabric_a",
        "fabric_b",
    ]


def test_not_ready_before_all_models_are_loaded(models: Path, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        shutil.copytree(models / "fabric_a", tmp_path / name)
    network = tmp_path / "bad" / "0" / "network.xml"
    content = network.read_bytes()
    network.write_bytes(b"")
    with serving(ServiceSettings(tmp_path, poll_seconds=0.05), ready=False) as service:
        wait_for(lambda: service.ask("/v1/models/good").status == 200)
        answer = service.ask("/health/ready")
        assert (answer.status, answer.json) == (503, {"status": "loading models"})
        waiting = service.ask("/v1/models/bad")
        assert waiting.status == 503
        assert waiting.headers["retry-after"] == "2"
        assert service.ask("/health/live").status == 200
        network.write_bytes(content)
        service.wait_until_ready()


def test_a_single_models_folder_is_served_under_its_name(models: Path) -> None:
    served = ServedModels(models / "fabric_a", 1000, lambda *_: None)
    served.refresh()
    assert served.categories == ["fabric_a"]
    model = served.get("fabric_a")
    assert model is not None
    assert model.description.preprocessing.max_pixels == 1000


def test_a_model_that_is_bad_for_days_holds_up_no_other(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / "fabric_a", tmp_path / "bad")
    (tmp_path / "bad" / "0" / "network.xml").write_bytes(b"")
    served = ServedModels(tmp_path, 1000, lambda *_: None)
    minutes = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 60.0 * next(minutes))
    for _ in range(1100):
        served.refresh()
    shutil.copytree(models / "fabric_a", tmp_path / "good")
    served.refresh()
    assert served.categories == ["good"]
