"""The networks of an ensemble, each with the engine that runs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from patchcore_ops.config.sections import CategoryConfig, EmbeddingMember, RuntimeSection
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.engine import Embeddings, Engine
from patchcore_ops.embedding.engine_choice import open_engine
from patchcore_ops.embedding.exported_network import NetworksOfOneUse, NetworkStore
from patchcore_ops.runtime.errors import WeightsError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash

NamedBatch = tuple[Pixels, Sequence[object]]


def open_networks(
    config: CategoryConfig,
    runtime: RuntimeSection,
    networks: NetworkStore | None = None,
    hash_of: HashOf = file_hash,
) -> Networks:
    """Open the network of every ensemble member; those that are not in `networks` are made.

    Raises WeightsError or EnvironmentProblem if a backbone, the engine or the device cannot be
    used; of several, all are named.
    """
    section = config.embedding
    opened: list[tuple[Engine, str]] = []
    mistakes: list[str] = []
    for member in range(len(section.members)):
        try:
            opened.append(
                open_engine(config, member, runtime, networks or NetworksOfOneUse(), hash_of)
            )
        except WeightsError as mistake:
            mistakes.append(f"embedding.members.{member}: {mistake}")
    if mistakes:
        raise WeightsError("\n".join(mistakes))
    engines = [engine for engine, _ in opened]
    fallbacks = [fallback for _, fallback in opened]
    return Networks(section.members, engines, section.target_embed_dimension, fallbacks)


class Networks:
    """Everything that turns a batch of images into embeddings: the members and their engines.

    `fallbacks` say why torch replaced OpenVINO, or are empty.
    """

    def __init__(
        self,
        members: Sequence[EmbeddingMember],
        engines: Sequence[Engine],
        dimension: int,
        fallbacks: Sequence[str] = (),
    ) -> None:
        self._members = members
        self.engines = engines
        self.fallbacks = fallbacks
        self.dimension = dimension
        self.batch_size = max(engine.images_per_call for engine in engines)
        self.calls_at_once = max(engine.calls_at_once for engine in engines)

    def embed_all(self, batches: Iterable[NamedBatch]) -> Generator[list[Embeddings]]:
        """Embed batches, as many at once as pays; close it where it may not be exhausted."""
        pending: deque[Future[list[Embeddings]]] = deque()
        executor = ThreadPoolExecutor(self.calls_at_once, thread_name_prefix="embed")
        try:
            for batch in batches:
                pending.append(executor.submit(self.embed, *batch))
                # One more than can be computed: nobody waits while the caller uses a result.
                if len(pending) > self.calls_at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)

    def embed(self, images: Pixels, names: Sequence[object] = ()) -> list[Embeddings]:
        """Embed a batch, uint8 [B, height, width, 3], for every member: [B * h * w, dimension].

        Several threads may call it at once. `names` are what to call the images where something is
        wrong; by default their numbers. Raises WeightsError if the network yields NaN or infinity;
        the message names member, layer and image.
        """
        embedded = [engine.embed(images) for engine in self.engines]
        for member, rows in enumerate(embedded):
            # A sum is finite only if all are, and is much cheaper than looking at each.
            if not np.isfinite(rows.sum()):
                self._refuse_what_is_not_finite(member, rows.reshape(len(images), -1), names)
        return embedded

    def _refuse_what_is_not_finite(
        self, member: int, rows: Embeddings, names: Sequence[object]
    ) -> None:
        """Look for the first image whose embeddings are not finite; the sum may mislead."""
        is_wrong = ~np.isfinite(rows)
        wrong = np.flatnonzero(is_wrong.any(axis=1))
        if len(wrong) == 0:
            return
        settings = self._members[member]
        dimensions = np.flatnonzero(is_wrong.reshape(-1, self.dimension).any(axis=0))
        starts = self.engines[member].first_dimensions
        layer = settings.layers[int(np.searchsorted(starts, dimensions[0], side="right")) - 1]
        first = names[wrong[0]] if names else f"image {wrong[0]} of the batch"
        raise WeightsError(
            f"embedding.members.{member}: layer '{layer}' of {settings.backbone} gives NaN "
            f"or infinity for {first}"
            + (f" and {len(wrong) - 1} more of its batch" if len(wrong) > 1 else "")
            + "; the weights are damaged or do not belong to this network"
        )
