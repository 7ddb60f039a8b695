"""Batches of images, decoded ahead of their use."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.image_formats import problem_report
from patchcore_ops.dataset.images import load_image
from patchcore_ops.runtime.errors import DatasetError

Pixels = npt.NDArray[np.uint8]
_BYTES_AHEAD = 32 * 2**20


class ImageStream:
    """Decodes images in threads, in order, from entering the context on.

    Pillow releases the interpreter lock, so threads suffice. About 32 MB of decoded images wait at
    most. 0 workers decode in the caller's thread. `on_image` is called in the decoding thread.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: ImageSize,
        num_workers: int,
        on_image: Callable[[Path, Pixels], None] | None = None,
    ) -> None:
        self._paths = iter(paths)
        self._size = size
        self._on_image = on_image
        self._num_workers = num_workers
        self._pending: deque[Future[Pixels]] = deque()
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> ImageStream:
        if self._num_workers > 0:
            self._executor = ThreadPoolExecutor(self._num_workers, thread_name_prefix="decode")
            ahead = _BYTES_AHEAD // (3 * math.prod(self._size.crop_size))
            self._submit(max(ahead, self._num_workers))
        return self

    def batches(self, count: int, batch_size: int) -> Iterator[Pixels]:
        """Yield the next `count` images as RGB batches, uint8 [B, height, width, 3].

        A DatasetError names every unusable file left in the stream.
        """
        for start in range(0, count, batch_size):
            try:
                images = [self._next() for _ in range(min(batch_size, count - start))]
            except DatasetError as problem:
                raise problem_report([str(problem), *self._further_problems()]) from None
            yield np.stack(images)

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _next(self) -> Pixels:
        if self._executor is None:
            return self._load(next(self._paths))
        try:
            return self._pending.popleft().result()
        finally:
            self._submit(1)

    def _further_problems(self) -> Iterator[str]:
        """Decode the rest, so that all faulty files are named at once."""
        while True:
            try:
                self._next()
            except DatasetError as problem:
                yield str(problem)
            except (IndexError, StopIteration):
                return

    def _submit(self, count: int) -> None:
        if self._executor is not None:
            for path in islice(self._paths, count):
                self._pending.append(self._executor.submit(self._load, path))

    def _load(self, path: Path) -> Pixels:
        image = load_image(path, self._size)
        if self._on_image is not None:
            self._on_image(path, image)
        return image
