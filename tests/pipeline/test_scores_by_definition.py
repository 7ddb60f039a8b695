"""Scores and anomaly maps of the whole pipeline, against their definition written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pipeline_kit import (
    CATEGORY,
    MEMBER,
    SIDE,
    TEST_IMAGES,
    UP_TO_PREDICTIONS,
    complete,
    write_config,
)
from scipy import ndimage

pytestmark = pytest.mark.usefixtures("pip_weights")

Floats = npt.NDArray[np.float64]
Predict = Callable[..., Path]
EVERY_ROW = {"sampler": "identity"}


@pytest.fixture(scope="module")
def predict(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Predict:
    """Return a function that runs a configuration up to its predictions."""

    def run(**sections: object) -> Path:
        file = tmp_path_factory.mktemp("predict") / "benchmark.yaml"
        return complete(write_config(file, tiny_dataset, **sections), *UP_TO_PREDICTIONS)

    return run


@pytest.fixture(scope="module")
def whole_bank(predict: Predict) -> Path:
    """Artefacts of a memory bank that keeps every patch."""
    return predict(coreset=EVERY_ROW)


def squared_distances(storage: Path, member: int = 0) -> Floats:
    """Distances of each test patch to every train patch, ascending: [images, patches, rows]."""
    folder = storage / "raw_embeddings" / CATEGORY / str(member)
    bank = np.load(folder / "embeddings.npy").astype(np.float64)
    queries = np.load(folder / "test_embeddings.npy").astype(np.float64)
    distances = np.empty((len(queries), len(bank)))
    for row, query in enumerate(queries):
        distances[row] = ((bank - query) ** 2).sum(axis=1)
    distances.sort(axis=1)
    return distances.reshape(TEST_IMAGES, -1, len(bank))


def bilinear(length: int, target: int) -> Floats:
    """Weights of bilinear resizing without aligned corners: [target, length]."""
    weights = np.zeros((target, length))
    for pixel in range(target):
        place = min(max((pixel + 0.5) * length / target - 0.5, 0), length - 1)
        below = int(place)
        above = min(below + 1, length - 1)
        weights[pixel, below] += 1 - (place - below)
        weights[pixel, above] += place - below
    return weights


def maps_of(patch_scores: Floats, sigma: float = 4.0) -> Floats:
    """Anomaly maps of patch scores [images, patches] on a square grid."""
    grid = round(patch_scores.shape[1] ** 0.5)
    weights = bilinear(grid, SIDE)
    resized = [weights @ scores.reshape(grid, grid) @ weights.T for scores in patch_scores]
    return np.stack([ndimage.gaussian_filter(image, sigma=sigma) for image in resized])


def predictions(storage: Path) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
    folder = storage / "test_predictions" / CATEGORY
    return pd.read_parquet(folder / "scores.parquet"), np.load(folder / "anomaly_maps.npy")


def scaled(values: Floats) -> Floats:
    return (values - values.min()) / (values.max() - values.min())


def test_identity_bank_is_every_train_patch(whole_bank: Path) -> None:
    embeddings = np.load(whole_bank / "raw_embeddings" / CATEGORY / "0" / "embeddings.npy")
    bank = whole_bank / "memory_bank" / CATEGORY / "0"
    np.testing.assert_array_equal(np.load(bank / "features.npy"), embeddings)
    np.testing.assert_array_equal(np.load(bank / "indices.npy"), np.arange(len(embeddings)))


def test_scores_and_maps_follow_the_nearest_patch(whole_bank: Path) -> None:
    nearest = squared_distances(whole_bank)[..., 0]
    scores, maps = predictions(whole_bank)
    np.testing.assert_allclose(scores["score"], nearest.max(axis=1), rtol=1e-4)
    np.testing.assert_allclose(maps, maps_of(nearest), rtol=1e-4)


def test_a_patch_score_is_the_mean_over_its_neighbours(predict: Predict, whole_bank: Path) -> None:
    storage = predict(
        coreset=EVERY_ROW, scoring={"anomaly_scorer_num_nn": 3, "smoothing_sigma": 1.5}
    )
    mean = squared_distances(storage)[..., :3].mean(axis=-1)
    scores, maps = predictions(storage)
    np.testing.assert_allclose(scores["score"], mean.max(axis=1), rtol=1e-4)
    np.testing.assert_allclose(maps, maps_of(mean, 1.5), rtol=1e-4)
    assert (scores["score"] > predictions(whole_bank)[0]["score"]).all()


def test_an_ensemble_is_the_mean_of_its_scaled_members(predict: Predict, whole_bank: Path) -> None:
    layers = (["blocks.2", "blocks.4"], ["blocks.1"], ["blocks.4"])
    members = [{**MEMBER, "layers": names} for names in layers]
    embedding = {
        "members": members,
        "pretrain_embed_dimension": 32,
        "target_embed_dimension": 24,
    }
    storage = predict(coreset=EVERY_ROW, embedding=embedding)
    for asset in ("raw_embeddings", "memory_bank", "faiss_index"):
        folders = sorted(entry.name for entry in (storage / asset / CATEGORY).glob("[0-9]*"))
        assert folders == ["0", "1", "2"], asset
    grids = [
        json.loads((storage / "raw_embeddings" / CATEGORY / member / "grid.json").read_text())
        for member in "012"
    ]
    assert [grid["height"] for grid in grids] == [8, 16, 4], "the first layer sets the grid"
    first = "raw_embeddings/fabric_a/0/embeddings.npy"
    np.testing.assert_array_equal(np.load(storage / first), np.load(whole_bank / first))

    nearest = [squared_distances(storage, member)[..., 0] for member in range(3)]
    of_members = [scores.max(axis=1) for scores in nearest]
    scores, maps = predictions(storage)
    assert list(scores.columns[3:]) == ["score", "score_0", "score_1", "score_2"]
    for member, expected in enumerate(of_members):
        np.testing.assert_allclose(scores[f"score_{member}"], expected, rtol=1e-4)
    ensemble = np.mean([scaled(member) for member in of_members], axis=0)
    np.testing.assert_allclose(scores["score"], ensemble, rtol=1e-3, atol=1e-4)
    averaged = np.mean([scaled(maps_of(member)) for member in nearest], axis=0)
    np.testing.assert_allclose(maps, averaged, rtol=1e-3, atol=1e-4)


def test_the_machine_s_settings_change_no_result(predict: Predict, whole_bank: Path) -> None:
    def arrays(storage: Path) -> list[npt.NDArray[np.float32]]:
        folder = storage / "raw_embeddings" / CATEGORY / "0"
        return [np.load(folder / name) for name in ("embeddings.npy", "test_embeddings.npy")]

    workers = predict(coreset=EVERY_ROW, runtime={"num_workers": 2, "faiss_num_workers": 2})
    for expected, found in zip(arrays(whole_bank), arrays(workers), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(predictions(workers)[1], predictions(whole_bank)[1])

    # For another batch size a library may take another kernel. Each of the two is as close to the
    # exact embeddings as tests/test_inference.py allows: 1.2e-5 for these layers. A difference of
    # embeddings is a few times smaller than they are, and counts twice in its square.
    batches = predict(coreset=EVERY_ROW, runtime={"batch_size": 3, "num_workers": 1})
    for expected, found in zip(arrays(whole_bank), arrays(batches), strict=True):
        assert np.linalg.norm(found - expected) <= 2.4e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(predictions(batches)[1], predictions(whole_bank)[1], rtol=1e-3)
