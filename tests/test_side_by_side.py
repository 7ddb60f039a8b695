"""Items worked on by several threads: in order, few at a time, and torch's threads divided."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from patchcore_ops.features import FeatureExtractor
from patchcore_ops.side_by_side import map_side_by_side


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    first_may_end = threading.Event()

    def late_first(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(10)
        if item == 1:
            first_may_end.set()
        return item * item

    assert list(map_side_by_side(late_first, range(20), 2)) == [item**2 for item in range(20)]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_items_are_taken_when_they_are_needed(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    for used, _ in enumerate(map_side_by_side(lambda item: item, items(), workers)):
        assert len(taken) <= used + workers + 1


def test_nothing_comes_of_nothing() -> None:
    assert list(map_side_by_side(abs, [], 2)) == []


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("workers", "each"), [(1, 4), (2, 2), (4, 1), (8, 1)])
def test_torchs_threads_are_divided_and_given_back(workers: int, each: int) -> None:
    counts = set(map_side_by_side(lambda _: torch.get_num_threads(), range(20), workers))
    assert counts == {each}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_an_error_comes_in_the_place_of_its_result() -> None:
    def fails_at_three(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = map_side_by_side(fails_at_three, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_closing_it_early_gives_the_threads_back() -> None:
    results = map_side_by_side(lambda item: item, range(100), 2)
    assert next(results) == 0
    results.close()
    assert torch.get_num_threads() == 4
    assert not any(thread.name.startswith("compute") for thread in threading.enumerate())


def test_threads_share_a_backbone_without_mixing_their_features() -> None:
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(8))
    ).requires_grad_(False)
    shallow, deep = FeatureExtractor(backbone, ["0", "2"]), FeatureExtractor(backbone, ["1", "6"])
    images = [torch.randn(1, 3, 16, 16) for _ in range(40)]
    expected = [(*shallow(image), *deep(image)) for image in images]

    def both(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (*shallow(image), *deep(image))

    for got, wanted in zip(map_side_by_side(both, images, 4), expected, strict=True):
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other)
