"""What all requests of a service share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from patchcore_ops.service.batching import BatchQueue
from patchcore_ops.service.metrics import Metrics
from patchcore_ops.service.served_models import ServedModels
from patchcore_ops.service.settings import ServiceSettings
from patchcore_ops.service.uploads import HeldBytes


class ServiceState:
    """The models, the queue, the metrics and the limits of a service."""

    def __init__(self, settings: ServiceSettings) -> None:
        limits = settings.limits
        self.settings = settings
        self.held = HeldBytes(limits.held_bytes)
        self.metrics = Metrics(lambda: len(self.queue))
        self.queue = BatchQueue(
            limits.waiting_images,
            settings.batch_images,
            settings.batch_seconds,
            self.metrics.batch,
        )
        self.models = ServedModels(settings.models, limits.pixels, self.metrics.loaded)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Load the models and score, until the end; what waits then is still scored."""
        stopped = threading.Event()
        watching = threading.Thread(
            target=self.models.keep_fresh,
            args=(stopped, self.settings.poll_seconds),
            name="models",
            daemon=True,
        )
        watching.start()
        self.queue.start()
        try:
            yield
        finally:
            stopped.set()
            self.queue.close()
            watching.join()
