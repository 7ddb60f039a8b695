"""Exported networks beside the artefacts: one for all categories, runs and machines that share it.

They are no asset. What identifies one is everything that determines it, so it is never stale; it
says nothing about a product, so as an asset its partitions would all be the same file; and where
torch computes there is none. The metadata of `raw_embeddings` names the network that was used.
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

    Two runs that export the same network at once each write a folder of their own, of which the
    last one stays; whoever reads the other goes on reading it.
    """

    def __init__(self, store: ArtefactStore, log: logging.Logger) -> None:
        self._store = store
        self._log = log

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """Open the folder of an exported network, verified; it is made first where it has to be."""
        with ExitStack() as reading:
            artefact = self._open(settings, reading)
            if artefact is None:
                self._export(settings, make)
                artefact = reading.enter_context(
                    self._store.open(EMBEDDING_NETWORK, settings.identity)
                )
            yield artefact.folder

    def _open(self, settings: NetworkSettings, reading: ExitStack) -> Artefact | None:
        try:
            return reading.enter_context(self._store.open(EMBEDDING_NETWORK, settings.identity))
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
