"""The named samplers: counts, determinism by seed, and the random projection."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch

from patchcore_ops.config.sections import CoresetSection, Sampler
from patchcore_ops.coreset import lazy_distances, projection
from patchcore_ops.coreset.projection import project, random_projection
from patchcore_ops.coreset.samplers import sample_count, select_rows
from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.errors import ConfigError, WeightsError

GREEDY = ("greedy_coreset", "approx_greedy_coreset")


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> ArrayFile:
    """Return 500 embeddings of 32 dimensions: a dense crowd and a few far outliers."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 32)).astype(np.float32)
    rows[:8] *= 50
    return stored(rng.permutation(rows), tmp_path_factory.mktemp("samplers"))


def stored(rows: npt.NDArray[np.float32], folder: Path) -> ArrayFile:
    np.save(folder / "embeddings.npy", rows)
    return ArrayFile(folder / "embeddings.npy")


def section(sampler: str, **keys: float) -> CoresetSection:
    return CoresetSection.model_validate({"sampler": sampler, "projection_dimension": 8, **keys})


@pytest.mark.parametrize("sampler", get_args(Sampler))
@pytest.mark.parametrize("percentage", [0.003, 0.25, 1.0])
def test_selection_is_distinct_rows_of_the_right_number(
    embeddings: ArrayFile, sampler: str, percentage: float
) -> None:
    coreset = section(sampler, percentage=percentage, number_of_starting_points=1000)
    rows = select_rows(embeddings, coreset)
    expected = 500 if sampler == "identity" else int(500 * percentage)
    assert rows.dtype == np.int64
    assert len(rows) == len(set(rows.tolist())) == expected == sample_count(500, coreset)
    assert set(rows.tolist()) <= set(range(500))
    if sampler == "identity":
        assert rows.tolist() == list(range(500))


@pytest.mark.parametrize("sampler", ["random", *GREEDY])
def test_seed_alone_decides(embeddings: ArrayFile, sampler: str) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = select_rows(embeddings, section(sampler, seed=5))
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    torch.manual_seed(2)
    np.testing.assert_array_equal(first, select_rows(embeddings, section(sampler, seed=5)))
    assert first.tolist() != select_rows(embeddings, section(sampler, seed=6)).tolist()


@pytest.mark.parametrize("sampler", GREEDY)
def test_the_number_of_threads_changes_no_pick(
    embeddings: ArrayFile, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many small blocks, so that the threads have something to share.
    for module, name in ((lazy_distances, "_ROWS_PER_BLOCK"), (projection, "_ROWS_PER_BLOCK")):
        monkeypatch.setattr(module, name, 16)
    picks = []
    for threads in ("1", "2", "3", "8"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        picks.append(select_rows(embeddings, section(sampler, percentage=0.6), "cpu").tolist())
    assert all(other == picks[0] for other in picks[1:])


@pytest.mark.parametrize("sampler", GREEDY)
def test_greedy_samplers_find_outliers_first_and_cover_better_than_chance(
    embeddings: ArrayFile, sampler: str
) -> None:
    points = embeddings.read(0, 500).astype(np.float64)

    def covering_radius(rows: npt.NDArray[np.int64]) -> float:
        gaps = points[:, None] - points[rows][None]
        return float(np.sqrt((gaps**2).sum(axis=2)).min(axis=1).max())

    greedy = select_rows(embeddings, section(sampler, projection_dimension=32))
    outliers = np.flatnonzero(np.linalg.norm(points, axis=1) > 50)
    assert set(outliers) <= set(greedy[:10].tolist())
    chance = select_rows(embeddings, section("random"))
    assert covering_radius(greedy) < 0.5 * covering_radius(chance)


@pytest.mark.parametrize("sampler", ["random", *GREEDY])
def test_not_a_single_pick_is_an_error(embeddings: ArrayFile, sampler: str) -> None:
    with pytest.raises(ConfigError, match=r"coreset\.percentage: 0\.001 of 500 .*raise it"):
        select_rows(embeddings, section(sampler, percentage=0.001))


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize("dimension", [4, 6, 64])
def test_projection_is_the_uniform_one_of_torch_in_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dimension: int, engine: str
) -> None:
    """As `torch.nn.Linear` without a bias draws it, and left out where the dimension fits."""
    monkeypatch.setattr(projection, "_ROWS_PER_BLOCK", 100)
    rows = np.random.default_rng(0).normal(size=(1050, 6)).astype(np.float32)
    embeddings = stored(rows, tmp_path)
    if engine == "numpy":
        projected = project(embeddings, dimension, Draws(3))
    else:
        weight = random_projection(6, dimension, Draws(3))
        projected = projection._project_by_torch(embeddings, dimension, weight, "cpu").numpy()
    generator = torch.Generator().manual_seed(3)
    drawn = torch.empty(dimension, 6).uniform_(-(6**-0.5), 6**-0.5, generator=generator)
    expected = rows if dimension == 6 else rows @ drawn.numpy().T
    np.testing.assert_allclose(projected, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", GREEDY)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -1e17])
def test_embeddings_without_distances_are_a_sentence(
    tmp_path: Path, sampler: str, value: float
) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    rows[17, 3] = value
    with pytest.raises(WeightsError, match=r"the embeddings reach from .* raw_embeddings again"):
        select_rows(stored(rows, tmp_path), section(sampler))


@pytest.mark.parametrize("magnitude", [1e-30, 1e15])
def test_any_other_magnitude_is_measured(tmp_path: Path, magnitude: float) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8)) * magnitude
    picks = select_rows(stored(rows.astype(np.float32), tmp_path), section("greedy_coreset"))
    assert len(set(picks.tolist())) == len(picks) == 5
