"""Images of several requests, scored together by one thread that uses every processor."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import NamedTuple

from patchcore_ops.model import EncodedImage, Model, Prediction, Unreadable

_LOG = logging.getLogger(__name__)

Outcome = Prediction | Unreadable


class QueueFull(Exception):
    """As many images wait as may."""


class _Waiting(NamedTuple):
    model: Model
    image: EncodedImage
    future: Future[Outcome]


class BatchQueue:
    """A bounded queue of images; `submit` from any thread, results through futures.

    `most_waiting` images may wait. `batch_images` are scored together, and the first of them waits
    `batch_seconds` for others. `on_batch` is called with the number of images of each batch.
    """

    def __init__(
        self,
        most_waiting: int,
        batch_images: int,
        batch_seconds: float,
        on_batch: Callable[[int], None],
    ) -> None:
        self._most_waiting = most_waiting
        self._batch_images = batch_images
        self._batch_seconds = batch_seconds
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)

    def start(self) -> None:
        """Begin to score."""
        self._thread.start()

    def close(self) -> None:
        """Score what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, model: Model, images: Sequence[EncodedImage]) -> list[Future[Outcome]]:
        """Put images in the queue, all or none; a future that is cancelled is left out.

        Raises QueueFull if not all of them find a place.
        """
        entries = [_Waiting(model, image, Future()) for image in images]
        with self._changed:
            if self._closed or len(self._waiting) + len(entries) > self._most_waiting:
                raise QueueFull
            self._waiting.extend(entries)
            self._changed.notify_all()
        return [entry.future for entry in entries]

    def _work(self) -> None:
        while batch := self._next_batch():
            running = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            if running:
                self._on_batch(len(running))
                _score(running)

    def _next_batch(self) -> list[_Waiting]:
        """Wait for images, and a little for more of the same model; nothing when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            until = time.monotonic() + self._batch_seconds
            while (
                len(self._waiting) < self._batch_images
                and not self._closed
                and (left := until - time.monotonic()) > 0
            ):
                self._changed.wait(left)
            model = self._waiting[0].model
            batch: list[_Waiting] = []
            others: deque[_Waiting] = deque()
            for entry in self._waiting:
                fits = entry.model is model and len(batch) < self._batch_images
                (batch if fits else others).append(entry)
            self._waiting = others
            return batch


def _score(batch: Sequence[_Waiting]) -> None:
    """Score a batch; if it fails as a whole, each image alone, so that one harms no other."""
    done = 0
    try:
        with closing(batch[0].model.attempt([entry.image for entry in batch])) as attempts:
            for entry, outcome in zip(batch, attempts, strict=True):
                entry.future.set_result(outcome)
                done += 1
    except Exception as error:
        if len(batch) == 1:
            _LOG.exception("%s: could not be scored", batch[0].image.name)
            batch[0].future.set_exception(error)
            return
        for entry in batch[done:]:
            _score([entry])
