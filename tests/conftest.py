"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from demo.tiny import build_tiny_dataset

if TYPE_CHECKING:
    from model_kit import Benchmarked

    from patchcore_assets.storage import ArtefactStore

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def two_torch_threads() -> None:
    """Keep the suite from taking a whole machine, and its timing comparable."""
    torch.set_num_threads(2)


@pytest.fixture(scope="session", autouse=True)
def absl_leaves_captured_output_open() -> None:
    """Keep absl, which OpenVINO imports, from closing pytest's stderr when Dagster configures logs.

    TensorBoard brings it. It takes the stderr that it meets for a file of its own.
    """
    try:
        from absl import logging
    except ImportError:
        return
    logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Return the folder with MVTec AD bottle (`data`) and the reference's figures (`golden`)."""
    folder = Path(os.environ.get("PATCHCORE_REFERENCE_DATA") or REPOSITORY.parent / "shared")
    if not (folder / "golden").is_dir():
        pytest.skip(f"{folder} holds no reference data; set PATCHCORE_REFERENCE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset with the categories fabric_a and fabric_b; treat it as read-only."""
    root = tmp_path_factory.mktemp("tiny_dataset")
    build_tiny_dataset(root)
    return root


@pytest.fixture(scope="session")
def single(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    """Return a benchmarked category of one member, a network of random weights."""
    from model_kit import benchmarked, ensemble_config

    folder = tmp_path_factory.mktemp("single")
    return benchmarked(tiny_dataset, folder, ensemble_config(folder, 1))


@pytest.fixture(scope="session")
def model(single: Benchmarked) -> Path:
    """Return its model; treat it as read-only."""
    folder = single.folder / "model"
    single.assemble(folder)
    return folder


@pytest.fixture(params=["folder", "bucket"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtefactStore:
    """Return a store in a folder, and one of the kind behind a URL, which has no locks."""
    from patchcore_assets.storage import open_store

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = str(tmp_path / "storage")
    return open_store(root if request.param == "folder" else f"local://{root}")
