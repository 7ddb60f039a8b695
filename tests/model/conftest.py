"""Benchmarked categories: of one member, of three with ranges, of two with units; saved models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from model_kit import Benchmarked, benchmarked, ensemble_config, units_config
from PIL import Image
from reference_kit import SIDE, Saved, save


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep exported networks for as long as the session, and out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", params=[1, 3, 2], ids=["one member", "three members", "units"])
def category(
    request: pytest.FixtureRequest, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Benchmarked:
    folder = tmp_path_factory.mktemp(f"members_{request.param}")
    # The ensembles score in the other way that there is.
    rule = {"distance": "root", "image_score": "smoothed_max"} if request.param > 1 else {}
    if request.param == 2:
        config = units_config(folder, anomaly_scorer_num_nn=2, **rule)
    else:
        config = ensemble_config(folder, request.param, anomaly_scorer_num_nn=2, **rule)
    return benchmarked(tiny_dataset, folder, config)


@pytest.fixture(scope="session")
def reference_images() -> torch.Tensor:
    """Return images of the network's size, which are neither resized nor cropped then."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in coarse]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)


@pytest.fixture(scope="session")
def saved_single(reference_images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Save a network whose own mean and standard deviation are not ImageNet's."""
    folder = tmp_path_factory.mktemp("single") / "mvtec_bottle"
    made = save(folder, reference_images, [("tf_efficientnet_lite0", ["blocks.1", "blocks.2"])])
    # The reference saves its features too, and nobody must open them.
    (made.folder / "nnscorer_features.pkl").write_bytes(b"cos\nsystem\n.")
    return made


@pytest.fixture(scope="session")
def saved_ensemble(
    reference_images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory
) -> Saved:
    folder = tmp_path_factory.mktemp("ensemble") / "mvtec_bottle"
    return save(
        folder,
        reference_images,
        [("resnet18", ["layer1", "layer2"]), ("test_resnet", ["layer2", "layer3"])],
    )


@pytest.fixture
def copied(saved_single: Saved, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_single.folder, tmp_path / "saved"))
