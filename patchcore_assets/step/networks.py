"""Exported networks beside the artefacts: one for all categories, runs and machines.

They are no asset: their identity holds everything that determines them, so they are never stale,
and all partitions would be the same file. `raw_embeddings` names the network that was used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from patchcore_assets.storage import Artefact, ArtefactStore, DamagedArtefact, MissingArtefact
from patchcore_ops.embedding.exported_network import NetworkSettings

EMBEDDING_NETWORK = "embedding_network"


class KeptNetworks:
    """Keeps exported networks in the store, by identity; see `NetworkStore`.

    Two runs that export the same network at once write a folder each; the last one stays, and a
    reader of the other goes on reading it.
    """

    def __init__(self, store: ArtefactStore, log: logging.Logger) -> None:
        self._store = store
        self._log = log

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """Open the verified folder of an exported network; make it first if needed."""
        with ExitStack() as reading:
            artefact = self._open(settings.identity, reading)
            if artefact is None:
                self._export(settings, make)
                artefact = reading.enter_context(
                    self._store.open(EMBEDDING_NETWORK, settings.identity)
                )
            yield artefact.folder

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        """Open the verified folder of an exported network; None if it is not kept, or damaged."""
        with ExitStack() as reading:
            artefact = self._open(identity, reading)
            yield None if artefact is None else artefact.folder

    def _open(self, identity: str, reading: ExitStack) -> Artefact | None:
        try:
            return reading.enter_context(self._store.open(EMBEDDING_NETWORK, identity))
        except MissingArtefact:
            return None
        except DamagedArtefact as damage:
            self._log.warning(f"{str(damage).partition(';')[0]}; it is exported again")
            return None

    def _export(self, settings: NetworkSettings, make: Callable[[Path], None]) -> None:
        self._log.info(
            f"exporting {settings.backbone}, once for all categories; most networks take about 10 s"
        )
        with self._store.stage(EMBEDDING_NETWORK, settings.identity) as staging:
            make(staging.folder)
            staging.commit(
                {
                    "backbone": settings.backbone,
                    "weights": settings.weights,
                    "layers": ", ".join(settings.layers),
                    "libraries": ", ".join(settings.libraries),
                }
            )
