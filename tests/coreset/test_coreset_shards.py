"""The coreset in shards: each is selected by itself, and the union takes turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from patchcore_ops.config.sections import CategoryConfig, CoresetSection, RuntimeSection
from patchcore_ops.coreset.projection import project
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.coreset.shards import interleaved, picks_of_shard
from patchcore_ops.coreset.torch_draws import Draws
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.rows import part_file
from patchcore_ops.stages.memory_bank import select_memory_bank, select_shard, shards_of
from patchcore_ops.stages.raw_embeddings import Grid

IMAGES, PATCHES, DIMENSION = 11, 30, 6
RUNTIME = RuntimeSection(device="cpu")


@pytest.fixture(params=[1, 3], ids=["one file", "three files"])
def embeddings(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder of train embeddings in so many files."""
    member = tmp_path / "embeddings" / "0"
    member.mkdir(parents=True)
    rows = np.random.default_rng(0).normal(size=(IMAGES * PATCHES, DIMENSION)).astype(np.float32)
    np.save(tmp_path / "all.npy", rows)
    Grid(5, 6, DIMENSION, IMAGES, 0).write(member)
    if request.param == 1:
        np.save(member / "embeddings.npy", rows)
    else:
        for number, part in enumerate(np.split(rows, [4 * PATCHES, 7 * PATCHES])):
            np.save(part_file(member / "embeddings.npy", number), part)
    return member.parent


def config(
    shards: int, percentage: float = 0.1, sampler: str = "approx_greedy_coreset"
) -> CategoryConfig:
    section = CoresetSection(
        sampler=sampler, percentage=percentage, projection_dimension=4, shards=shards
    )
    return CategoryConfig(coreset=section)


def literal_shard(rows: np.ndarray, wanted: int, seed: int) -> list[int]:
    """Select by the definition, one pick a pass, in the projection that all shards share."""
    draws = Draws(seed)
    weight = draws.uniform(DIMENSION**-0.5, (4, DIMENSION)).T
    points = (rows @ weight).astype(np.float64)
    starts = draws.some_of(10, len(rows))
    distances = np.linalg.norm(points[:, None] - points[starts], axis=2).mean(axis=1)
    picks: list[int] = []
    for _ in range(wanted):
        picks.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(points - points[picks[-1]], axis=1))
        distances[picks] = -1
    return picks


@pytest.mark.parametrize("shards", [2, 3, 11])
@pytest.mark.parametrize("percentage", [0.1, 0.37])
def test_each_shard_is_selected_by_itself_and_they_take_turns(
    embeddings: Path, tmp_path: Path, shards: int, percentage: float
) -> None:
    rows, settings = np.load(tmp_path / "all.npy"), config(shards, percentage)
    expected: list[list[int]] = []
    for shard in range(shards):
        start, stop = (IMAGES * number // shards * PATCHES for number in (shard, shard + 1))
        wanted = int(stop * percentage) - int(start * percentage)
        picks = literal_shard(rows[start:stop], wanted, settings.coreset.seed)
        expected.append([start + pick for pick in picks])
    turns = [
        picks[turn]
        for turn in range(max(map(len, expected)))
        for picks in expected
        if turn < len(picks)
    ]
    (bank,) = select_memory_bank(embeddings, settings, RUNTIME, tmp_path / "bank")
    assert (bank.rows, bank.picks) == (len(rows), int(len(rows) * percentage))
    indices = np.load(tmp_path / "bank/0/indices.npy")
    assert indices.tolist() == turns
    np.testing.assert_array_equal(np.load(tmp_path / "bank/0/features.npy"), rows[indices])
    assert sorted(path.name for path in (tmp_path / "bank").iterdir()) == ["0"]


def test_one_shard_is_the_selection_over_all(embeddings: Path, tmp_path: Path) -> None:
    select_memory_bank(embeddings, config(1), RUNTIME, tmp_path / "bank")
    whole = select_rows(ArrayFile(tmp_path / "all.npy"), config(1).coreset)
    np.testing.assert_array_equal(np.load(tmp_path / "bank/0/indices.npy"), whole)


def test_a_shard_needs_only_the_files_of_its_images(embeddings: Path, tmp_path: Path) -> None:
    shards = shards_of(embeddings, config(3))
    select_memory_bank(embeddings, config(3), RUNTIME, tmp_path / "bank")
    whole = set(np.load(tmp_path / "bank/0/indices.npy").tolist())
    for number, shard in enumerate(shards):
        alone = tmp_path / f"node-{number}"
        for name in shard[0].files:
            (alone / name).parent.mkdir(parents=True, exist_ok=True)
            (alone / name).write_bytes((embeddings / name).read_bytes())
        select_shard(shard, config(3), RUNTIME, [alone], tmp_path / f"shard-{number}")
        whole -= set(np.load(tmp_path / f"shard-{number}/0/indices.npy").tolist())
    assert not whole
    if len(list(embeddings.glob("0/*.npy"))) == 3:
        assert [len(shard[0].files) for shard in shards] == [1, 2, 1]


@pytest.mark.parametrize("sampler", ["approx_greedy_coreset", "greedy_coreset"])
def test_the_union_keeps_the_bound_of_its_smallest_shard(
    embeddings: Path, tmp_path: Path, sampler: str
) -> None:
    """No row is farther from the union than twice the radius of any m centres for all rows."""
    settings = config(4, 0.2, sampler)
    select_memory_bank(embeddings, settings, RUNTIME, tmp_path / "bank")
    points = project(ArrayFile(tmp_path / "all.npy"), 4, Draws(settings.coreset.seed))
    indices = np.load(tmp_path / "bank/0/indices.npy")
    radius = np.linalg.norm(points[:, None] - points[indices], axis=2).min(axis=1).max()
    # Any centres will do: random ones, and those of greedy selection, which are near the best.
    per_shard = min(
        picks_of_shard(start * PATCHES, stop * PATCHES, settings.coreset)
        for start, stop in ((0, 2), (2, 5), (5, 8), (8, 11))
    )
    greedy = select_rows(ArrayFile(tmp_path / "all.npy"), settings.coreset, wanted=per_shard)
    chance = np.random.default_rng(1).choice(len(points), per_shard, replace=False)
    for centres in (greedy, chance):
        of_centres = np.linalg.norm(points[:, None] - points[centres], axis=2).min(axis=1).max()
        assert radius <= 2 * of_centres


def test_turns_of_shards_of_unequal_length() -> None:
    assert interleaved([2, 3, 1]).tolist() == [0, 2, 5, 1, 3, 4]


@pytest.mark.parametrize("sampler", ["identity", "random"])
def test_samplers_without_shards_refuse_them(sampler: str) -> None:
    with pytest.raises(ValidationError, match=f"must be 1 for sampler: {sampler}"):
        CoresetSection(sampler=sampler, shards=2)
