"""Paths from sidecars and links, as an attacker would write them, stay within the storage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchcore_assets.storage import Artefact, open_store
from patchcore_ops.runtime.errors import UserError

OUTSIDE = ("../secret", "/etc/passwd", "a/../../secret", "..", "a/..")


@pytest.mark.parametrize("name", [*OUTSIDE, "./a", "a//b", "a/", "", ".", "a\0b", "artefact.json"])
def test_a_sidecar_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    store = open_store(str(tmp_path / "storage"))
    with store.stage("memory_bank", "bottle") as staging:
        (staging.folder / "a").write_text("a")
        staging.commit({"run_id": "1"})
    with store.open("memory_bank", "bottle") as artefact:
        sidecar = artefact.folder / "artefact.json"
    content = json.loads(sidecar.read_text())
    content["files"][name] = content["files"]["a"]
    sidecar.write_text(json.dumps(content))
    with pytest.raises(UserError, match="memory_bank"), store.open("memory_bank", "bottle"):
        pass


def test_a_link_to_elsewhere_is_no_version_of_an_artefact(tmp_path: Path) -> None:
    """What the pointer of an artefact names is looked for among its own versions alone."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a").write_text("a")
    Artefact.describe("memory_bank", "bottle", secret, {}).write_sidecar()
    place = tmp_path / "storage" / "memory_bank"
    place.mkdir(parents=True)
    (place / "bottle").symlink_to(secret)
    store = open_store(str(tmp_path / "storage"))
    try:
        with store.open("memory_bank", "bottle") as artefact:
            opened = artefact.folder.resolve()
    except UserError:
        return
    assert opened != secret, "a link led out of the storage"
