"""Paths from files and configurations, as an attacker would write them, stay within their roots."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from patchcore_assets.storage import Artefact, open_store
from patchcore_ops.config import load_config
from patchcore_ops.dataset.manifest import COLUMNS
from patchcore_ops.runtime.errors import UserError
from patchcore_ops.stages.layout import MANIFEST, read_manifest

OUTSIDE = ("../secret", "/etc/passwd", "a/../../secret", "..", "a/..")
NO_CATEGORY = (
    *OUTSIDE,
    ".",
    ".versions",
    ".hidden",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "",
    " ",
    "a...b",
    "$(id)",
    "<b>",
    "a" * 300,
)


def config_with(folder: Path, **dataset: object) -> Path:
    file = folder / "benchmark.yaml"
    content = {"dataset": {"root": str(folder / "data"), **dataset}, "storage": {"root": "storage"}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", NO_CATEGORY)
def test_a_category_of_the_configuration_is_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.categories"):
        load_config(config_with(tmp_path, categories=["bottle", name]))


@pytest.mark.parametrize("name", ["a\nb", "<b>", "$(id)", "a...b", "a\\b", "a,b"])
def test_a_discovered_folder_is_a_plain_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / name / "train").mkdir(parents=True)
    with pytest.raises(UserError, match=r"dataset\.categories"):
        load_config(config_with(tmp_path, categories="discover"))


def test_hidden_folders_are_not_discovered(tmp_path: Path) -> None:
    for name in (".git", "bottle"):
        (tmp_path / "data" / name / "train").mkdir(parents=True)
    found = load_config(config_with(tmp_path, categories="discover"))
    assert found.categories == ("bottle",)


@pytest.mark.parametrize("column", ["path", "mask_path"])
@pytest.mark.parametrize("path", OUTSIDE)
def test_a_manifest_names_no_file_outside_of_the_dataset(
    tmp_path: Path, column: str, path: str
) -> None:
    row = dict.fromkeys(COLUMNS) | {"path": "bottle/test/a/1.png", "split": "test"} | {column: path}
    pd.DataFrame([row], columns=list(COLUMNS)).to_parquet(tmp_path / MANIFEST)
    with pytest.raises(UserError, match="manifest"):
        read_manifest(tmp_path)


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
