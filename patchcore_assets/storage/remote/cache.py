"""A bounded copy on this machine of artefacts in a remote storage.

    <folder>/<hash of the root>/    a local store of what was read or written lately

So a cached artefact is whole or not there, is verified when it is opened, and stays while anybody
reads it; any number of processes may share the folder. The limit is what stays between steps, not
what one step needs at a time.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from patchcore_assets.storage.artefact import Artefact
from patchcore_assets.storage.hashed import HashedFiles
from patchcore_assets.storage.local.store import LocalStore
from patchcore_assets.storage.remote.errors import StorageRefused
from patchcore_assets.storage.sidecar import SIDECAR
from patchcore_ops.runtime.files import user_cache

DEFAULT_BYTES = 10 * 10**9
_NAME = "patchcore-assets"


class ArtefactCache:
    """Local stores in a folder of this machine, one for each remote root.

    Raises
    ------
    StorageRefused
        If the folder cannot be made, or is not this user's to write.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limit: int | None = None,
        hashes: HashedFiles | None = None,
    ) -> None:
        self.folder = _made(folder or user_cache() / _NAME)
        self.limit = DEFAULT_BYTES if limit is None else limit
        self._hashes = HashedFiles() if hashes is None else hashes

    def store_of(self, root: str) -> LocalStore:
        """Return the local store for a remote root."""
        return self._store(self.folder / hashlib.sha256(root.encode()).hexdigest()[:16])

    def mark_used(self, artefact: Artefact) -> None:
        """Make an artefact the last to be removed."""
        os.utime(artefact.folder / SIDECAR)

    def trim(self) -> None:
        """Remove the least recently used artefacts until the limit is kept.

        Whoever reads one goes on; then it is removed by the next writer.
        """
        found = []
        # Below a root: an asset, its categories, and their days.
        for link in (one for depth in (2, 3, 4) for one in self.folder.glob("/".join("*" * depth))):
            with suppress(FileNotFoundError, NotADirectoryError):  # Removed by another process.
                used = (link / SIDECAR).stat().st_mtime_ns
                if link.is_symlink():
                    size = sum(file.stat().st_size for file in link.resolve().rglob("*"))
                    found.append((used, size, link.relative_to(self.folder)))
        kept = 0
        for _, size, place in sorted(found, reverse=True):
            if kept + size <= self.limit:
                kept += size
            else:
                root, asset, *names = place.parts
                self._store(self.folder / root).forget(asset, "/".join(names) or None)

    def _store(self, folder: Path) -> LocalStore:
        return LocalStore(str(folder), self._hashes, "storage.cache")


def _made(folder: Path) -> Path:
    """Make a folder that nobody else can read; one that is there keeps its rights."""
    reason = "it belongs to somebody else, or is on a read-only disk"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    if os.access(folder, os.W_OK | os.X_OK):
        return folder
    raise StorageRefused(
        f"{folder}: cannot be written ({reason}); name another folder in storage.cache"
    )
