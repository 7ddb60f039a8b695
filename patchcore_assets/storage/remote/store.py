"""Artefacts in a remote store (S3 and whatever else fsspec reaches).

Files are made in a local folder and uploaded as a version of their own, which one small object, the
pointer, then makes the current one; see `versions`. What is read comes from a local cache of
bounded size, or is downloaded into it; see `cache`. Every file is compared with its checksum.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from patchcore_assets.storage.artefact import Artefact, DamagedArtefact, missing
from patchcore_assets.storage.remote.cache import FileCache
from patchcore_assets.storage.remote.errors import StorageBusy
from patchcore_assets.storage.remote.objects import Objects
from patchcore_assets.storage.remote.versions import Versions
from patchcore_assets.storage.sidecar import SIDECAR

# A reader starts over this often because the version that it reads has been superseded.
_TRIES = 20


class RemoteStore:
    """An artefact store at a URL; see `ArtefactStore`.

    Parameters
    ----------
    root : str
    cache : FileCache, optional
        Where files are kept on this machine.

    Raises
    ------
    StorageRefused
        If the URL holds credentials, nothing speaks its protocol, or no cache can be made.
    """

    def __init__(self, root: str, cache: FileCache | None = None) -> None:
        self._objects = Objects(root)
        self._cache = cache or FileCache()

    @property
    def root(self) -> str:
        """The URL below which everything lies."""
        return self._objects.root

    @contextmanager
    def stage(self, asset: str, category: str | None) -> Iterator[RemoteStaging]:
        """Open a local folder for a new version; nothing is uploaded before `commit`.

        Something is read and something is written first, so that whoever may not use the storage
        learns so before any work is done.
        """
        versions = Versions(self._objects, asset, category)
        versions.try_all()
        with self._cache.work_folder() as folder:
            yield RemoteStaging(asset, category, folder, versions, self._cache)

    @contextmanager
    def open(self, asset: str, category: str | None) -> Iterator[Artefact]:
        """Bring the current version here for reading, verified; see `ArtefactStore.open`."""
        with self._cache.work_folder() as folder:
            artefact = self._bring(asset, category, folder)
            try:
                yield artefact
            except Exception:
                artefact.verify()
                raise

    def _bring(self, asset: str, category: str | None, work: Path) -> Artefact:
        """Follow the pointer, and follow it again where its version was superseded meanwhile."""
        versions = Versions(self._objects, asset, category)
        for attempt in range(_TRIES):
            pointer = versions.pointer()
            if pointer is None:
                raise missing(asset, category, self.root)
            folder = work / str(attempt)
            folder.mkdir()
            (folder / SIDECAR).write_bytes(pointer)
            artefact = Artefact.read(
                folder, asset, category, self._cache.hash_of, versions.url(None)
            )
            absent = {
                name: digest
                for name, (size, digest) in artefact.files.items()
                if not self._cache.take(digest, size, folder / name)
            }
            versions.download(artefact.version, absent, folder)
            try:
                artefact.verify()
            except DamagedArtefact:
                if versions.pointer() == pointer:
                    raise
                continue
            for name, digest in absent.items():
                self._cache.add(folder / name, digest)
            return artefact
        raise StorageBusy(
            f"{versions.url(None)} was replaced {_TRIES} times while it was being read; see which "
            "runs write it over and over"
        )

    def remove(self, asset: str, category: str | None) -> None:
        """Remove an artefact, if it is there; see `ArtefactStore.remove`."""
        Versions(self._objects, asset, category).remove()

    def location(self, asset: str, category: str | None) -> str:
        """Return the URL at which users find the files of the current version."""
        versions = Versions(self._objects, asset, category)
        return versions.url(versions.current())

    def categories(self, asset: str) -> list[str]:
        """Return the categories for which the asset has an artefact, sorted; by one listing."""
        parts = [name.split("/") for name in self._objects.listing(asset)]
        return sorted(part[0] for part in parts if part[1:] == [SIDECAR])


class RemoteStaging:
    """A local folder whose content will be uploaded; see `Staging`."""

    def __init__(
        self,
        asset: str,
        category: str | None,
        folder: Path,
        versions: Versions,
        cache: FileCache,
    ) -> None:
        self.folder = folder
        self._asset = asset
        self._category = category
        self._version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        self._versions = versions
        self._cache = cache

    @property
    def location(self) -> str:
        """The URL at which users will find the files."""
        return self._versions.url(self._version)

    def commit(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
        made_from: Mapping[str, str] | None = None,
    ) -> Artefact:
        """Upload the files, and make them the current version when all of them are there."""
        artefact = self._described(provenance, unversioned, made_from)
        self._versions.upload(self._version, self.folder)
        for name, (_, digest) in artefact.files.items():
            self._cache.add(self.folder / name, digest)
        self._versions.switch(self._version, self.folder)
        return artefact

    def refuse(self, provenance: Mapping[str, str]) -> str:
        """Upload the files to where nothing reads them; see `Staging.refuse`."""
        self._described(provenance, (), None)
        return self._versions.keep_refused(self.folder)

    def _described(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str],
        made_from: Mapping[str, str] | None,
    ) -> Artefact:
        artefact = replace(
            Artefact.describe(
                self._asset,
                self._category,
                self.folder,
                provenance,
                unversioned,
                self._cache.hash_of,
                made_from,
            ),
            version=self._version,
        )
        artefact.write_sidecar()
        return artefact
