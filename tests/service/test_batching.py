"""Images are scored in batches of one model; one that makes a batch fail harms no other."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from patchcore_ops.model import EncodedImage
from patchcore_ops.service.batching import BatchQueue, QueueFull

TIMEOUT = 30


class Recorder:
    """In the place of a model: notes its batches, fails where an image is called "bad"."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_go_on = threading.Event()

    def attempt(self, images: Iterable[EncodedImage]) -> Iterator[Any]:
        names = [image.name for image in images]
        self.batches.append(names)
        assert self.may_go_on.wait(TIMEOUT)
        for name in names:
            if name == "bad":
                raise RuntimeError(name)
            yield name.upper()


def images(names: str) -> list[EncodedImage]:
    return [EncodedImage(name, b"") for name in names.split()]


@pytest.fixture
def queue() -> Iterator[BatchQueue]:
    made = BatchQueue(6, 3, 0.0, lambda _: None)
    made.start()
    yield made
    made.close()


def begun(model: Any, queue: BatchQueue) -> Any:
    """Let the thread begin with an image, so that others wait."""
    first = queue.submit(model, images("first"))
    while not model.batches:
        threading.Event().wait(0.005)
    return first[0]


def test_what_waits_is_scored_together_by_model(queue: BatchQueue) -> None:
    one: Any = Recorder()
    other: Any = Recorder()
    begun(one, queue)
    futures = [
        *queue.submit(one, images("a")),
        *queue.submit(other, images("x y")),
        *queue.submit(one, images("b c")),
    ]
    one.may_go_on.set()
    other.may_go_on.set()
    assert [future.result(TIMEOUT) for future in futures] == ["A", "X", "Y", "B", "C"]
    assert one.batches == [["first"], ["a", "b", "c"]]
    assert other.batches == [["x", "y"]]


def test_no_batch_is_larger_than_it_may_be(queue: BatchQueue) -> None:
    model: Any = Recorder()
    begun(model, queue)
    futures = queue.submit(model, images("a b c d e"))
    model.may_go_on.set()
    assert futures[-1].result(TIMEOUT) == "E"
    assert model.batches[1:] == [["a", "b", "c"], ["d", "e"]]


def test_one_bad_image_fails_alone(queue: BatchQueue) -> None:
    model: Any = Recorder()
    begun(model, queue)
    good, bad, late = queue.submit(model, images("a bad b"))
    model.may_go_on.set()
    assert (good.result(TIMEOUT), late.result(TIMEOUT)) == ("A", "B")
    with pytest.raises(RuntimeError, match="bad"):
        bad.result(TIMEOUT)
    assert queue.submit(model, images("c"))[0].result(TIMEOUT) == "C"


def test_a_model_that_scores_nothing_stops_no_other(queue: BatchQueue) -> None:
    class Unfit:
        def attempt(self, _images: Iterable[EncodedImage]) -> Iterator[Any]:
            raise ValueError("no ranges")

    unfit: Any = Unfit()
    other: Any = Recorder()
    other.may_go_on.set()
    for future in queue.submit(unfit, images("a b")):
        with pytest.raises(ValueError, match="no ranges"):
            future.result(TIMEOUT)
    [future] = queue.submit(other, images("c"))
    assert future.result(TIMEOUT) == "C"


def test_what_is_cancelled_is_not_scored(queue: BatchQueue) -> None:
    model: Any = Recorder()
    begun(model, queue)
    kept, dropped = queue.submit(model, images("a b"))
    assert dropped.cancel()
    model.may_go_on.set()
    assert kept.result(TIMEOUT) == "A"
    assert model.batches[1:] == [["a"]]


def test_all_images_of_a_request_find_a_place_or_none(queue: BatchQueue) -> None:
    model: Any = Recorder()
    begun(model, queue)
    queue.submit(model, images("a b c d"))
    with pytest.raises(QueueFull):
        queue.submit(model, images("e f g"))
    assert len(queue) == 4
    queue.submit(model, images("e f"))
    model.may_go_on.set()


def test_what_waits_at_the_end_is_still_scored() -> None:
    queue = BatchQueue(6, 3, 10.0, lambda _: None)
    model: Any = Recorder()
    model.may_go_on.set()
    queue.start()
    [future] = queue.submit(model, images("a"))
    queue.close()
    assert future.result(0) == "A"
    with pytest.raises(QueueFull):
        queue.submit(model, images("b"))
