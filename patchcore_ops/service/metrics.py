"""What Prometheus is told: requests, latency, scores, verdicts, batches and the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from patchcore_ops.model import Model, Prediction, Unreadable

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)
# Squared distances: their scale is the network's.
_SCORES = tuple(base * 10.0**power for power in range(-2, 6) for base in (1, 2, 5))
_P_VALUES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "patchcore_requests", "Requests", ("route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "patchcore_request_seconds",
            "From a request's headers to its answer",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._images = Counter(
            "patchcore_images",
            "Images: normal, anomalous, uncalibrated (no threshold) or unreadable",
            ("category", "verdict"),
            registry=registry,
        )
        self._scores = Histogram(
            "patchcore_score", "Scores", ("category",), buckets=_SCORES, registry=registry
        )
        self._p_values = Histogram(
            "patchcore_p_value",
            "P-values; of normal images each is equally likely",
            ("category",),
            buckets=_P_VALUES,
            registry=registry,
        )
        self._batches = Histogram(
            "patchcore_batch_images",
            "Images scored together",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        queue = Gauge("patchcore_queue_images", "Images that wait", registry=registry)
        queue.set_function(waiting)
        self._models = Gauge(
            "patchcore_model",
            "1 for the version in use",
            ("category", "version"),
            registry=registry,
        )
        self._loads = Counter(
            "patchcore_model_loads",
            "Models loaded or not",
            ("category", "outcome"),
            registry=registry,
        )
        self._versions: dict[str, str] = {}

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, images: int) -> None:
        """Count a batch."""
        self._batches.observe(images)

    def outcome(self, category: str, outcome: Prediction | Unreadable) -> None:
        """Count an image, with its score."""
        if isinstance(outcome, Unreadable):
            self._images.labels(category, "unreadable").inc()
            return
        verdicts = {None: "uncalibrated", True: "anomalous", False: "normal"}
        self._images.labels(category, verdicts[outcome.is_anomaly]).inc()
        self._scores.labels(category).observe(outcome.score)
        if outcome.p_value is not None:
            self._p_values.labels(category).observe(outcome.p_value)

    def loaded(self, category: str, model: Model | None) -> None:
        """Note that a model is served now, or could not be loaded."""
        self._loads.labels(category, "failed" if model is None else "loaded").inc()
        if model is not None:
            version = model.description.sha256
            before = self._versions.get(category)
            if before is not None and before != version:
                self._models.remove(category, before)
            self._models.labels(category, version).set(1)
            self._versions[category] = version
