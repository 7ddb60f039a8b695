"""Nearest neighbours: exact where they are said to be, and sentences where they cannot be had."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from rounding_kit import sum_bound

from patchcore_ops.config.sections import IndexSection, RuntimeSection
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem
from patchcore_ops.scoring import certified_search
from patchcore_ops.scoring.certified_search import CertifiedSearch
from patchcore_ops.scoring.index_building import build_index, foresee_index
from patchcore_ops.scoring.index_file import read_index, write_index
from patchcore_ops.scoring.neighbours import Searcher

Array = npt.NDArray[np.float32]


def vectors(count: int, dimension: int = 16, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def search(
    index: Any, queries: npt.NDArray[np.floating], neighbours: int, parameters: str = ""
) -> tuple[Array, npt.NDArray[np.int64]]:
    section = IndexSection(search_parameters=parameters)
    searcher = Searcher(index, section, RuntimeSection(faiss_num_workers=2))
    found = searcher.find(queries, neighbours)
    return found.distances, found.rows


def squared_distances(queries: Array, bank: Array) -> npt.NDArray[np.float64]:
    exact = bank.astype(np.float64)
    return np.stack([((exact - query) ** 2).sum(axis=1) for query in queries])


def assert_nearest(
    queries: Array, bank: Array, distances: Array, rows: npt.NDArray[np.int64]
) -> None:
    """Compare with all distances in double precision; within rounding, the order is free."""
    every = squared_distances(queries, bank)
    # |q|^2 - 2qx + |x|^2, as matrix products give it, sums terms of (|q| + |x|)^2.
    norms = [np.linalg.norm(vectors.astype(np.float64), axis=1) for vectors in (queries, bank)]
    rounding = sum_bound(bank.shape[1], (norms[0][:, None] + norms[1].max()) ** 2)
    found = np.take_along_axis(every, rows, axis=1)
    nearest = np.sort(every, axis=1)[:, : rows.shape[1]]
    assert (np.abs(found - nearest) <= 2 * rounding).all()
    assert (np.abs(distances - found) <= rounding).all()
    assert all(len(set(of_query)) == len(of_query) for of_query in rows.tolist())


@pytest.mark.parametrize("neighbours", [1, 3, 50])
@pytest.mark.parametrize("dimension", [1, 16, 200])
def test_flat_index_is_exact_and_squared(neighbours: int, dimension: int) -> None:
    bank, queries = vectors(50, dimension), vectors(30, dimension, seed=1)
    distances, rows = search(build_index(bank, "Flat"), queries, neighbours)
    assert distances.shape == rows.shape == (30, neighbours)
    assert distances.dtype == np.float32
    assert_nearest(queries, bank, distances, rows)


def test_answers_do_not_depend_on_layout_precision_or_a_file(tmp_path: Path) -> None:
    index, queries = build_index(vectors(50), "Flat"), vectors(8, seed=1)
    expected = search(index, queries, 3)
    write_index(index, tmp_path / "new" / "index.faiss")
    for other, variant in (
        (index, queries.astype(np.float64)),
        (index, np.asfortranarray(queries)),
        (read_index(tmp_path / "new" / "index.faiss"), queries),
    ):
        for got, wanted in zip(search(other, variant, 3), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("factory", ["IVF4,Flat", "HNSW16", "PCA8,Flat", "SQ8"])
def test_other_factories_are_trained_and_filled(factory: str) -> None:
    bank = vectors(400)
    index = build_index(bank, factory)
    assert index.ntotal == 400
    _, rows = search(index, bank, 1)
    assert (rows[:, 0] == np.arange(400)).mean() > 0.9


@pytest.mark.parametrize(
    ("rows", "lists"), [(1, 1), (3, 1), (31, 7), (100, 20), (400, 40), (2500, 100)]
)
def test_automatic_lists_follow_the_rows_of_the_bank(
    rows: int, lists: int, capfd: pytest.CaptureFixture[str]
) -> None:
    bank = vectors(rows)
    index = build_index(bank, "IVFauto,Flat")
    foresee_index(IndexSection(factory="IVFauto,Flat", search_parameters="nprobe=5"), rows, 16)
    assert (index.nlist, index.ntotal) == (lists, rows)
    _, found = search(index, bank, 1, "nprobe=5")
    np.testing.assert_array_equal(found[:, 0], np.arange(rows))
    # FAISS would warn of few rows a list.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("factory", ["Flatt", "IVF64,Flat", "PQ5"])
def test_factory_that_cannot_be_built_is_named(factory: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_index(vectors(20), factory)
    message = str(caught.value)
    assert message.startswith(f"index.factory: FAISS cannot build '{factory}' over 20 x 16")
    assert "\n" not in message


def test_both_faiss_builds_beside_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "1.0")
    with pytest.raises(EnvironmentProblem, match=r"both installed .*pip uninstall"):
        build_index(vectors(5), "Flat")


def test_search_parameters_reach_the_index() -> None:
    bank, queries = vectors(400), vectors(50, seed=1)
    expected = np.argsort(squared_distances(queries, bank), axis=1)[:, :3]
    index = build_index(bank, "IVF8,Flat")
    _, narrow = search(index, queries, 3, "nprobe=1")
    _, whole = search(index, queries, 3, "nprobe=8")
    np.testing.assert_array_equal(whole, expected)
    assert (narrow != expected).any()


@pytest.mark.parametrize(
    ("rows", "factory", "neighbours", "parameters", "sentence"),
    [
        (5, "Flat", 6, "", r"anomaly_scorer_num_nn: asks for 6 neighbours, .* holds 5 rows"),
        (50, "Flat", 1, "nprobes=8", r"'nprobes=8' does not suit .*\(could not set parameter npro"),
        (200, "IVF64,Flat", 20, "", r"finds fewer than 20 neighbours .* raise nprobe"),
    ],
)
def test_a_search_that_cannot_be_is_a_sentence(
    rows: int, factory: str, neighbours: int, parameters: str, sentence: str
) -> None:
    index = build_index(vectors(rows, 8), factory)
    with pytest.raises(ConfigError, match=sentence):
        search(index, vectors(50, 8, seed=1), neighbours, parameters)


def low_rank(count: int, seed: int) -> Array:
    """Draw vectors of 48 dimensions, most of whose variance lies in a few."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(6, 48))
    rows = rng.normal(size=(count, 6)) @ mixing + 0.3 * rng.normal(size=(count, 48))
    return (rows + 5).astype(np.float32)


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("most_candidates", [0, 40, 1024])
def test_certified_search_finds_what_the_flat_scan_finds(
    monkeypatch: pytest.MonkeyPatch, neighbours: int, most_candidates: int
) -> None:
    monkeypatch.setattr(certified_search, "FINE_COORDINATES", 8)
    monkeypatch.setattr(certified_search, "SMALLEST_DIMENSION", 16)
    monkeypatch.setattr(certified_search, "SMALLEST_BANK", 100)
    monkeypatch.setattr(certified_search, "MOST_CANDIDATES", most_candidates)
    bank = low_rank(3000, seed=0)
    queries = np.concatenate([low_rank(200, seed=1), 3 * low_rank(20, seed=2), bank[:20]])
    index = build_index(bank, "Flat")
    assert CertifiedSearch.suits(index)
    certified = Searcher(index, IndexSection(), RuntimeSection())
    plain = Searcher(index, IndexSection(), RuntimeSection(certified_search=False))
    found = [searcher.find(queries, neighbours) for searcher in (certified, plain)]
    for distances, rows, _ in found:
        assert_nearest(queries, bank, distances, rows)
    assert found[1].proven is None
    assert found[0].proven is not None
    if most_candidates == 0:
        assert not found[0].proven.any()
    else:
        assert 0.1 < found[0].proven.mean() <= 1


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified_search, "FINE_COORDINATES", 8)
    monkeypatch.setattr(certified_search, "SMALLEST_DIMENSION", 16)
    monkeypatch.setattr(certified_search, "MOST_CANDIDATES", 20)
    monkeypatch.setattr(certified_search, "_QUERIES_PER_PART", 100)
    index = build_index(low_rank(3000, seed=0), "Flat")
    queries = low_rank(300, seed=1)
    found = [CertifiedSearch(index, threads).search(queries, 2) for threads in (1, 2, 3, 8)]
    for other in found[1:]:
        for got, wanted in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("offset", "gap"), [(0, 1e-1), (0, 1e-5), (100, 1e-3), (1000, 1e-5)])
def test_what_bounds_verify_is_nearest_up_to_rounding(offset: float, gap: float) -> None:
    """Near ties, far from the origin, in as many dimensions as embeddings have."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 1024))
    base = rng.normal(size=(1100, 12)) @ mixing + 0.3 * rng.normal(size=(1100, 1024))
    tied = base + gap * rng.normal(size=base.shape)
    bank = (np.concatenate([base, tied]) + offset).astype(np.float32)
    halfway = (bank[:40].astype(np.float64) + bank[1100:1140]) / 2
    queries = (halfway + 0.2 * rng.normal(size=halfway.shape)).astype(np.float32)
    certified = CertifiedSearch(build_index(bank, "Flat"))
    distances, rows, proven = certified.search(queries, 2)
    assert proven is not None
    assert proven.all()
    every = squared_distances(queries.astype(np.float64), bank)
    found = np.take_along_axis(every, rows, axis=1)
    # The difference of two numbers is rounded once, and so is its square: three more in a sum.
    rounding = sum_bound(bank.shape[1] + 3, found)
    assert (np.abs(distances - found) <= rounding).all()
    assert (found - np.sort(every, axis=1)[:, :2] <= 2 * rounding).all()


@pytest.mark.parametrize("case", ["small", "narrow", "approximate"])
def test_certified_search_is_left_out_where_it_does_not_suit(case: str) -> None:
    bank, factory = {
        "small": (vectors(20, 512), "Flat"),
        "narrow": (vectors(certified_search.SMALLEST_BANK, 4), "Flat"),
        "approximate": (vectors(certified_search.SMALLEST_BANK, 4), "HNSW4"),
    }[case]
    index = build_index(bank, factory)
    assert not CertifiedSearch.suits(index)
    searcher = Searcher(index, IndexSection(), RuntimeSection())
    assert searcher.find(bank[:1], 1).proven is None


def test_a_search_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS and torch may count threads by one OpenMP; torch's results depend on the count."""
    import faiss

    during = []
    search_part = CertifiedSearch._search

    def watch(of_part: object, *arguments: object, **more: object) -> object:
        during.append(faiss.cvar.distance_compute_blas_threshold)
        return search_part(of_part, *arguments, **more)

    monkeypatch.setattr(CertifiedSearch, "_search", watch)
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1234)
    index = build_index(vectors(3000, 400), "Flat")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        runtime = RuntimeSection(faiss_num_workers=1)
        Searcher(index, IndexSection(), runtime).find(vectors(5, 400, seed=1), 1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert during == [certified_search._QUERIES_FOR_PRODUCTS]
    assert faiss.cvar.distance_compute_blas_threshold == 1234


def test_absent_gpu_is_a_sentence() -> None:
    faiss = pytest.importorskip("faiss")
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        pytest.skip("this machine has a GPU that FAISS can use")
    with pytest.raises(EnvironmentProblem, match=r"runtime\.faiss_on_gpu: .*faiss-gpu"):
        Searcher(build_index(vectors(5), "Flat"), IndexSection(), RuntimeSection(faiss_on_gpu=True))


@pytest.mark.parametrize("rows", [500, 4096], ids=["flat scan", "bounds"])
def test_excluded_rows_are_no_neighbours(rows: int) -> None:
    random = np.random.default_rng(5)
    bank = random.normal(size=(rows, 400)).astype(np.float32)
    queries = bank[:40] + random.normal(scale=0.05, size=(40, 400)).astype(np.float32)
    # Of the first image the rows below 60, of the second those below 30.
    excluded = [np.arange(60), np.arange(30)]
    searcher = Searcher(build_index(bank, "Flat"), IndexSection(), RuntimeSection())
    found = searcher.find(queries, 3, of_one_image=20, excluded=excluded)
    for at, (distances, nearest) in enumerate(zip(found.distances, found.rows, strict=True)):
        first = len(excluded[at // 20])
        expected = ((bank[first:].astype(float) - queries[at]) ** 2).sum(axis=1)
        # A scan by products cancels sums of squares of about 400.
        np.testing.assert_allclose(distances, np.sort(expected)[:3], rtol=1e-5, atol=1e-2)
        assert set(nearest.tolist()) == set((np.argsort(expected)[:3] + first).tolist())


@pytest.mark.parametrize("rows", [300, 1000, 1900])
def test_a_flat_search_rounds_alike_whatever_the_threads(rows: int) -> None:
    bank, queries = vectors(rows, 256), vectors(4 * 784, 256, seed=1)
    searcher = Searcher(
        build_index(bank, "Flat"), IndexSection(), RuntimeSection(faiss_num_workers=2)
    )
    together = searcher.find(queries, 3, of_one_image=784)
    for threads in (1, 2):
        alone = [searcher.find(image, 3, threads=threads) for image in np.split(queries, 4)]
        np.testing.assert_array_equal(
            np.concatenate([one.distances for one in alone]), together.distances
        )


@pytest.mark.parametrize("factory", ["IVF2,Flat", "PCA8,IVF2,Flat", "PCA8,IVF2,Flat,RFlat"])
@pytest.mark.parametrize("excluded", [[], [3], list(range(200))])
def test_every_list_is_searched_where_the_nearest_hold_too_few(
    factory: str, excluded: list[int]
) -> None:
    bank, queries = vectors(201), vectors(20, seed=1)
    bank[200:] += 100
    searcher = Searcher(
        build_index(bank, factory), IndexSection(search_parameters="nprobe=1"), RuntimeSection()
    )
    near_the_single_row = queries + 100
    found = searcher.find(near_the_single_row, 1, excluded=[np.array(excluded, dtype=np.int64)])
    assert (found.rows == 200).all()
    without = [np.array([*excluded, 200], dtype=np.int64)]
    if len(excluded) < 200:
        assert np.isfinite(searcher.find(near_the_single_row, 2, excluded=without).distances).all()


@pytest.mark.parametrize("rows", [500, 4096], ids=["flat scan", "bounds"])
def test_images_searched_at_once_get_what_each_gets_alone(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(6)
    bank = random.normal(size=(rows, 400)).astype(np.float32)
    queries = random.normal(size=(90, 400)).astype(np.float32)
    index = build_index(bank, "Flat")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = Searcher(index, IndexSection(), RuntimeSection())
    expected = [alone.find(image, 2) for image in np.split(queries, 3)]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    at_once = Searcher(index, IndexSection(), RuntimeSection())
    found = at_once.find(queries, 2, of_one_image=30)
    np.testing.assert_array_equal(found.distances, np.concatenate([one[0] for one in expected]))
    np.testing.assert_array_equal(found.rows, np.concatenate([one[1] for one in expected]))
