"""Artefacts in a remote store (S3 and whatever else fsspec reaches).

Files are made in a folder of the local cache and uploaded as a version of their own, which one
small object, the pointer, then makes the current one; see `versions`. What is read is in the cache,
or is downloaded into it; see `cache`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from patchcore_assets.storage.artefact import (
    Artefact,
    DamagedArtefact,
    MissingArtefact,
    files_of,
    missing,
)
from patchcore_assets.storage.local.staging import LocalStaging
from patchcore_assets.storage.remote.cache import ArtefactCache
from patchcore_assets.storage.remote.errors import StorageBusy
from patchcore_assets.storage.remote.objects import Objects
from patchcore_assets.storage.remote.versions import Versions, place_of
from patchcore_assets.storage.sidecar import SIDECAR

# A reader starts over this often because the version that it reads has been superseded.
_TRIES = 20


class RemoteStore:
    """An artefact store at a URL; see `ArtefactStore`.

    Raises
    ------
    StorageRefused
        If the URL holds credentials, nothing speaks its protocol, or no cache can be made.
    """

    def __init__(self, root: str, cache: ArtefactCache | None = None) -> None:
        self._objects = Objects(root)
        self._cache = cache or ArtefactCache()
        self._local = self._cache.store_of(self.root)

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
        try:
            with self._local.stage(asset, category) as staging:
                yield RemoteStaging(staging, versions)
        finally:
            self._cache.trim()

    @contextmanager
    def open(
        self, asset: str, category: str | None, only: Collection[str] | None = None
    ) -> Iterator[Artefact]:
        """Bring the current version here for reading, verified; see `ArtefactStore.open`."""
        versions = Versions(self._objects, asset, category)
        try:
            with ExitStack() as reading:
                yield self._enter(versions, asset, category, only, reading)
        finally:
            self._cache.trim()

    def _enter(
        self,
        versions: Versions,
        asset: str,
        category: str | None,
        only: Collection[str] | None,
        reading: ExitStack,
    ) -> Artefact:
        """Follow the pointer, and follow it again where its version was superseded meanwhile."""
        for _ in range(_TRIES):
            pointer = versions.pointer()
            if pointer is None:
                raise missing(asset, category, self.root)
            if artefact := self._cached(pointer, asset, category, reading):
                return artefact
            try:
                with ExitStack() as fetching:
                    staging = fetching.enter_context(self._local.stage(asset, category))
                    artefact = self._fetch(versions, pointer, asset, category, only, staging)
                    if only is None:
                        staging.publish()
                    else:
                        # A part is no artefact to keep: it goes when it has been read.
                        reading.enter_context(fetching.pop_all())
                        return artefact
            except DamagedArtefact:
                if versions.pointer() == pointer:
                    raise
            if artefact := self._cached(pointer, asset, category, reading):
                return artefact
        raise StorageBusy(
            f"{versions.url(None)} was replaced {_TRIES} times while it was being read; see which "
            "runs write it over and over"
        )

    def _cached(
        self, pointer: bytes, asset: str, category: str | None, reading: ExitStack
    ) -> Artefact | None:
        """Open the version of a pointer in the cache, if it is there."""
        with ExitStack() as trying:
            try:
                artefact = trying.enter_context(self._local.open(asset, category))
            except (MissingArtefact, DamagedArtefact):
                return None
            if (artefact.folder / SIDECAR).read_bytes() != pointer:
                return None
            self._cache.mark_used(artefact)
            reading.enter_context(trying.pop_all())
            return artefact

    def _fetch(
        self,
        versions: Versions,
        pointer: bytes,
        asset: str,
        category: str | None,
        only: Collection[str] | None,
        staging: LocalStaging,
    ) -> Artefact:
        """Download the version of a pointer into a folder of the cache."""
        (staging.folder / SIDECAR).write_bytes(pointer)
        where = versions.url(None)
        artefact = Artefact.read(staging.folder, asset, category, location=where)
        names = artefact.files if only is None else only
        versions.download(artefact.version, names, staging.folder)
        artefact = replace(artefact, hash_of=staging.hash_of(files_of(staging.folder)))
        artefact.verify(only)
        return artefact

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

    def days(self, asset: str, category: str) -> list[str]:
        """Return the days of a category for which the asset has an artefact, sorted.

        One that was never finished is among them: to look would be a request for each.
        """
        return self._objects.folders(f"{asset}/{category}")


class RemoteStaging:
    """A folder of the cache whose content will be uploaded; see `Staging`."""

    def __init__(self, staging: LocalStaging, versions: Versions) -> None:
        self.folder = staging.folder
        self._staging = staging
        self._versions = versions
        self._shared: dict[str, str] = {}

    @property
    def location(self) -> str:
        """The URL at which users will find the files."""
        return self._versions.url(self.folder.name)

    def share(self, source: Path, name: str) -> None:
        """Link a cached file into this version; the storage will copy it; see `Staging.share`."""
        self._staging.share(source, name)
        if place := place_of(source):
            self._shared[name] = place

    def commit(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
        made_from: Mapping[str, str] | None = None,
    ) -> Artefact:
        """Upload the files, and make them the current version when all of them are there."""
        artefact = self._staging.describe(provenance, unversioned, made_from)
        self._versions.upload(self.folder.name, self.folder, self._shared)
        self._versions.switch(self.folder.name, self.folder)
        self._staging.publish()
        return artefact

    def refuse(self, provenance: Mapping[str, str]) -> str:
        """Upload the files to where nothing reads them; see `Staging.refuse`."""
        refused = Path(self._staging.refuse(provenance))
        place = self._versions.keep_refused(refused)
        shutil.rmtree(refused)
        return place
