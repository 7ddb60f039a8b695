"""Artefacts in a remote store (S3 and whatever else fsspec reaches).

Files are made in a local folder and uploaded as a version of their own, which one small object, the
pointer, then makes the current one; see `remote_versions`. What is read comes from a local cache of
bounded size, or is downloaded into it; see `cache`. Every file is compared with its checksum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from patchcore_assets.storage.artefact import (
    SIDECAR,
    Artefact,
    DamagedArtefact,
    command,
    missing,
    of,
)
from patchcore_assets.storage.remote.cache import FileCache
from patchcore_assets.storage.remote.objects import LostFile, Objects
from patchcore_assets.storage.remote.pointer import DamagedPointer
from patchcore_assets.storage.remote.refusals import StorageRefused
from patchcore_assets.storage.remote.versions import RemoteVersions
from patchcore_ops.runtime.fingerprints import file_hash

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
        If the URL holds credentials, nothing speaks its protocol, or there is no room for a cache.
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
        versions = RemoteVersions(self._objects, asset, category)
        with suppress(DamagedPointer):  # It is about to be replaced.
            versions.current()
        versions.try_writing()
        with self._cache.work_folder() as folder:
            yield RemoteStaging(asset, category, folder, versions, self._cache)

    @contextmanager
    def open(self, asset: str, category: str | None) -> Iterator[Artefact]:
        """Bring the current version here for reading, verified; see `ArtefactStore.open`.

        Where what uses it fails, the files are verified again: they may be the reason.
        """
        versions = RemoteVersions(self._objects, asset, category)
        with self._cache.work_folder() as folder:
            artefact = self._bring(versions, asset, category, folder)
            try:
                yield artefact
            except Exception:
                self._look_again(artefact)
                raise

    def _bring(
        self, versions: RemoteVersions, asset: str, category: str | None, work: Path
    ) -> Artefact:
        """Follow the pointer, and follow it again where its version was superseded meanwhile."""
        try:
            pointer = versions.current()
            for attempt in range(_TRIES):
                if pointer is None:
                    raise missing(asset, category, self.root)
                folder = work / str(attempt)
                folder.mkdir()
                (folder / SIDECAR).write_bytes(pointer.content)
                artefact = self._described(folder, asset, category)
                fault = self._fill(artefact, versions.folder_of(pointer))
                if fault is None:
                    return artefact
                before, pointer = pointer, versions.current()
                if pointer == before:
                    raise self._damaged(asset, category, fault)
        except DamagedPointer as reason:
            raise self._damaged(asset, category, f"{SIDECAR} ({reason})") from None
        raise StorageRefused(
            f"{self.location(asset, category)} was replaced {_TRIES} times while it was being "
            "read; see which runs write it over and over"
        )

    def _described(self, folder: Path, asset: str, category: str | None) -> Artefact:
        try:
            return Artefact.read(folder, asset, category, self._cache.hash_of)
        except DamagedArtefact:
            fault = f"{SIDECAR} (of another artefact, or with a data_version of other files)"
            raise self._damaged(asset, category, fault) from None

    def _fill(self, artefact: Artefact, place: str) -> str | None:
        """Bring the files of a version; returns what is not as it was written, if anything."""
        absent = {
            name: (artefact.folder / name, size)
            for name, (size, digest) in artefact.files.items()
            if not self._cache.take(digest, size, artefact.folder / name)
        }
        try:
            self._objects.download({f"{place}/{name}": file for name, file in absent.items()})
        except LostFile as lost:
            return f"{lost.name.removeprefix(f'{place}/')} (missing, or not whole)"
        for name, (file, _) in absent.items():
            digest = artefact.files[name][1]
            if file_hash(file) != digest:
                return f"{name} (another content)"
            self._cache.add(file, digest)
        return None

    def _look_again(self, artefact: Artefact) -> None:
        """Refuse files that have been damaged on this machine since, and forget them."""
        damaged = []
        for name, (_, digest) in artefact.files.items():
            file = artefact.folder / name
            if not file.is_file() or file_hash(file) != digest:
                self._cache.forget(digest)
                damaged.append(name)
        if damaged:
            raise DamagedArtefact(
                f"{', '.join(damaged)} of {artefact.asset}{of(artefact.category)} was damaged in "
                f"{self._cache.folder} while it was in use; run again, and it is fetched anew"
            )

    def _damaged(self, asset: str, category: str | None, what: str) -> DamagedArtefact:
        return DamagedArtefact(
            f"{what} of {asset}{of(category)} in {self.location(asset, category)} is not what was "
            f"written; make the artefact again: {command(asset, category)}"
        )

    def remove(self, asset: str, category: str | None) -> None:
        """Remove an artefact, if it is there; see `ArtefactStore.remove`."""
        RemoteVersions(self._objects, asset, category).remove()

    def location(self, asset: str, category: str | None) -> str:
        """Return the URL at which users find the artefact."""
        return f"{self.root}/{RemoteVersions(self._objects, asset, category).place}"

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
        versions: RemoteVersions,
        cache: FileCache,
    ) -> None:
        self.folder = folder
        self._asset = asset
        self._category = category
        self._versions = versions
        self._cache = cache

    def commit(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
        made_from: Mapping[str, str] | None = None,
    ) -> Artefact:
        """Upload the files, and make them the current version when all of them are there."""
        artefact = Artefact.describe(
            self._asset,
            self._category,
            self.folder,
            provenance,
            unversioned,
            self._cache.hash_of,
            made_from,
        )
        artefact.write_sidecar()
        pointer = self._versions.upload(self.folder)
        for name, (_, digest) in artefact.files.items():
            self._cache.add(self.folder / name, digest)
        self._versions.switch(pointer, self.folder)
        return artefact

    def refuse(self, provenance: Mapping[str, str]) -> str:
        """Upload the files to where nothing reads them; see `Staging.refuse`."""
        Artefact.describe(
            self._asset, self._category, self.folder, provenance, (), self._cache.hash_of
        ).write_sidecar()
        return self._versions.keep_refused(self.folder)
