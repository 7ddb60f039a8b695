"""Where artefacts live: versioned folders that are switched as a whole, locally or in a store."""

from patchcore_assets.storage.artefact import (
    Artefact,
    DamagedArtefact,
    MissingArtefact,
    command,
    missing,
)
from patchcore_assets.storage.hashed import HashedFiles
from patchcore_assets.storage.local.problems import StorageProblem
from patchcore_assets.storage.remote.errors import StorageBusy
from patchcore_assets.storage.store import ArtefactStore, Staging, open_store, store_of
from patchcore_assets.storage.transient import is_transient

__all__ = [
    "Artefact",
    "ArtefactStore",
    "DamagedArtefact",
    "HashedFiles",
    "MissingArtefact",
    "Staging",
    "StorageBusy",
    "StorageProblem",
    "command",
    "is_transient",
    "missing",
    "open_store",
    "store_of",
]
