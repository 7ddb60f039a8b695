"""The coverage radius, against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.coreset import coverage as module
from patchcore_ops.coreset.coverage import bank_coverage, radius_by_picks
from patchcore_ops.coreset.projection import project
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.rows import RowRange


def literal_radius(rows: np.ndarray, picks: np.ndarray) -> float:
    """Return the distance of the row that is farthest from its nearest pick."""
    return max(
        min(float(np.linalg.norm(row.astype(float) - pick)) for pick in picks) for row in rows
    )


def draw(rows: int, dimension: int, seed: int = 0, offset: float = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(rows, dimension)) + offset).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("offset", [0, 1000])
def test_the_curve_follows_the_definition(count: int, offset: float) -> None:
    rows, picks = draw(40, 5, offset=offset), draw(count, 5, seed=1, offset=offset)
    numbers, radius = radius_by_picks(rows, iter([picks[:2], picks[2:9], picks[9:]]))
    assert numbers == [power for power in (1, 2, 4, 8, 16) if power < count] + [count]
    expected = [literal_radius(rows, picks[:number]) for number in numbers]
    assert radius == pytest.approx(expected, rel=1e-4)
    assert radius_by_picks(rows, [rows])[1][-1] == 0


def stored(features: np.ndarray, folder: Path) -> ArrayFile:
    np.save(folder / "features.npy", features)
    return ArrayFile(folder / "features.npy")


@pytest.mark.parametrize("dimension", [8, 4])
def test_few_rows_are_measured_exactly_as_the_sampler_sees_them(
    tmp_path: Path, dimension: int
) -> None:
    rows = draw(300, 8)
    np.save(tmp_path / "rows.npy", rows)
    embeddings = ArrayFile(tmp_path / "rows.npy")
    coreset = CoresetSection(percentage=0.1, projection_dimension=dimension)
    indices = select_rows(embeddings, coreset)
    coverage = bank_coverage(embeddings, stored(rows[indices], tmp_path), indices, coreset)
    assert (coverage.is_exact, coverage.rows, coverage.picks[-1]) == (True, 300, 30)
    projected = project(embeddings, dimension, Draws(coreset.seed))
    expected = [literal_radius(projected, projected[indices[:picks]]) for picks in coverage.picks]
    assert coverage.radius == pytest.approx(expected, rel=1e-4)


def test_of_many_rows_a_sample_tells_the_radius_of_greedy_picks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLED_ROWS", 1000)
    rows = draw(6000, 4)
    np.save(tmp_path / "rows.npy", rows)
    embeddings = ArrayFile(tmp_path / "rows.npy")
    coreset = CoresetSection(percentage=0.05, projection_dimension=4)
    indices = select_rows(embeddings, coreset)
    coverage = bank_coverage(embeddings, stored(rows[indices], tmp_path), indices, coreset)
    assert not coverage.is_exact
    assert 1000 <= coverage.rows <= 1000 + len(coverage.picks)
    _, exact = radius_by_picks(rows, [rows[indices]])
    # The first picks follow the mean distance to the starting points.
    assert coverage.picks[6] == 64
    assert coverage.radius[6:-1] == pytest.approx(exact[6:-1], rel=1e-4)
    assert 0.6 * exact[-1] < coverage.final <= exact[-1] * 1.0001


def test_in_a_bank_of_shards_the_farthest_row_of_each_shard_is_measured(tmp_path: Path) -> None:
    rows = draw(6000, 4)
    np.save(tmp_path / "rows.npy", rows)
    embeddings = ArrayFile(tmp_path / "rows.npy")
    coreset = CoresetSection(percentage=0.05, projection_dimension=4, shards=3)
    by_shard = [
        select_rows(RowRange(embeddings, start, start + 2000), coreset) + start
        for start in (0, 2000, 4000)
    ]
    indices = np.stack(by_shard, axis=1).reshape(-1)
    coverage = bank_coverage(embeddings, stored(rows[indices], tmp_path), indices, coreset)
    _, exact = radius_by_picks(rows, [rows[indices]])
    for picks, radius, largest in zip(coverage.picks, coverage.radius, exact, strict=True):
        next_rows = rows[indices[picks : picks + 3]]
        measured = literal_radius(next_rows, rows[indices[:picks]]) if picks < 300 else 0.0
        assert measured * 0.9999 <= radius <= largest * 1.0001
