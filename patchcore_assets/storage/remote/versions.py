"""The versions of one artefact in a remote storage, and the pointer that names the current one.

    <root>/.versions/<asset>/<category>/<version>/   the files, and their sidecar
    <root>/<asset>/<category>/artefact.json          the pointer: that sidecar
    <root>/<asset>/<category>/<file>                 copies for people; nothing here reads them
    <root>/.refused/<asset>/<category>/              what a check has refused, for people

An object store writes one object at once or not at all. So a version is uploaded whole, and then
writing the pointer makes it the current one. Of two writers the last one to write the pointer wins.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from patchcore_assets.storage.artefact import SIDECAR
from patchcore_assets.storage.remote.objects import LostFile, Objects, Stored
from patchcore_assets.storage.remote.pointer import DamagedPointer, Pointer
from patchcore_assets.storage.remote.refusals import StorageBusy, StorageRefused

_VERSIONS = ".versions"
_REFUSED = ".refused"
_LARGEST_POINTER = 64 << 20
_UPLOADS = 3
_ROUNDS = 10
_ABANDONED_AFTER_SECONDS = 86400.0
_TRIAL = "may-this-be-written"
# What may happen after the switch without harm to what the pipeline reads.
_TROUBLE = (StorageBusy, StorageRefused, DamagedPointer)

_log = logging.getLogger(__name__)


class RemoteVersions:
    """One artefact's place in a remote storage."""

    def __init__(self, objects: Objects, asset: str, category: str | None) -> None:
        self.place = asset if category is None else f"{asset}/{category}"
        self._objects = objects
        self._versions = f"{_VERSIONS}/{asset}/{category or '_'}"
        self._refused = f"{_REFUSED}/{asset}/{category or '_'}"
        self._pointer = f"{self.place}/{SIDECAR}"

    def current(self) -> Pointer | None:
        """Read the pointer; None if there is no artefact.

        Raises
        ------
        DamagedPointer
            If the object is not one.
        """
        content = self._objects.read(self._pointer, _LARGEST_POINTER)
        return None if content is None else Pointer.parse(content)

    def upload(self, folder: Path) -> Pointer:
        """Upload a folder, its sidecar among its files, as a version that is not yet current."""
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        pointer = Pointer.to(version, (folder / SIDECAR).read_bytes())
        (folder / SIDECAR).write_bytes(pointer.content)
        self._upload(pointer, folder)
        return pointer

    def switch(self, pointer: Pointer, folder: Path) -> None:
        """Make an uploaded version the current one, then see to the copies and to the litter.

        Parameters
        ----------
        pointer : Pointer
        folder : Path
            The version's files on this machine.
        """
        replaced = self._replaced()
        self._objects.write(self._pointer, pointer.content)
        for _ in range(_ROUNDS):
            try:
                if self._copies_agree():
                    break
            except LostFile:
                # Superseded meanwhile; or taken for that, where a pointer was long under way.
                if self.current() == pointer:
                    self._upload(pointer, folder)
            except _TROUBLE as error:
                _log.warning("the copies of %s stay as they were: %s", self.place, error)
                break
        try:
            self._remove_litter({pointer.version, replaced})
            self._remove_refused()
        except _TROUBLE as error:
            _log.warning("superseded versions of %s stay for now: %s", self.place, error)

    def remove(self) -> None:
        """Remove the artefact: first the pointer, so that none leads to files that are gone."""
        self._objects.remove([self._pointer])
        for place in (self.place, self._versions):
            self._objects.remove([f"{place}/{name}" for name in self._objects.listing(place)])

    def keep_refused(self, folder: Path) -> str:
        """Upload a folder to where refused versions are kept; returns its URL."""
        self._remove_refused()
        files = [file for file in folder.rglob("*") if file.is_file()]
        self._objects.upload(
            {f"{self._refused}/{file.relative_to(folder).as_posix()}": file for file in files}
        )
        return f"{self._objects.root}/{self._refused}"

    def _remove_refused(self) -> None:
        self._objects.remove(
            f"{self._refused}/{name}" for name in self._objects.listing(self._refused)
        )

    def try_writing(self) -> None:
        """Write something and remove it, to know before any work is done that both are allowed."""
        self._objects.write(f"{self._versions}/{_TRIAL}", b"")
        self._objects.remove([f"{self._versions}/{_TRIAL}"])

    def folder_of(self, pointer: Pointer) -> str:
        """Return where a version's files lie."""
        return self.place if pointer.version is None else f"{self._versions}/{pointer.version}"

    def _upload(self, pointer: Pointer, folder: Path) -> None:
        place = self.folder_of(pointer)
        sizes = {**pointer.sizes, SIDECAR: len(pointer.content)}
        absent = set(sizes)
        for _ in range(_UPLOADS):
            with suppress(LostFile):  # The listing tells what is there.
                self._objects.upload({f"{place}/{name}": folder / name for name in sorted(absent)})
            stored = self._objects.listing(place)
            absent = {
                name
                for name, size in sizes.items()
                if name not in stored or stored[name].size != size
            }
            if not absent:
                return
        raise StorageRefused(
            f"{min(absent)} is not in {self._objects.root}/{place} although it was uploaded; "
            "see what else removes or changes files there"
        )

    def _replaced(self) -> str | None:
        with suppress(DamagedPointer):  # What cannot be read is replaced all the same.
            before = self.current()
            return before.version if before else None
        return None

    def _copies_agree(self) -> bool:
        """Copy the current version's files to the names that people know.

        Another writer may switch meanwhile, and copy too. Whoever sees that the pointer has moved
        copies again, so the last copies are those of the last pointer.

        Returns
        -------
        bool
            Whether the version was still the current one afterwards.
        """
        current = self.current()
        if current is None or current.version is None:
            return True
        self._copy(current)
        return self.current() == current

    def _copy(self, pointer: Pointer) -> None:
        source = self.folder_of(pointer)
        self._objects.copy({f"{source}/{name}": f"{self.place}/{name}" for name in pointer.sizes})
        others = self._objects.listing(self.place).keys() - pointer.sizes.keys() - {SIDECAR}
        self._objects.remove(f"{self.place}/{name}" for name in others)

    def _remove_litter(self, superseded: set[str | None]) -> None:
        """Remove versions that are not current: superseded ones, and those of killed writers.

        A version is a killed writer's when the storage has written nothing to it for a day. The
        time is the storage's own: that of the latest file among the versions.
        """
        versions: dict[str, dict[str, Stored]] = defaultdict(dict)
        for name, stored in self._objects.listing(self._versions).items():
            versions[name.partition("/")[0]][name] = stored
        times = {version: _last_written(files) for version, files in versions.items()}
        now = max((time for time in times.values() if math.isfinite(time)), default=0.0)
        current = self.current()  # Only now: what was switched after the listing stays.
        for version, files in versions.items():
            is_abandoned = times[version] < now - _ABANDONED_AFTER_SECONDS
            if (current is None or version != current.version) and (
                version in superseded or is_abandoned
            ):
                self._objects.remove(f"{self._versions}/{name}" for name in files)


def _last_written(files: Mapping[str, Stored]) -> float:
    """Return when a version was last written to; without any time it counts as just now."""
    times = [stored.written for stored in files.values() if stored.written is not None]
    return max(times) if times else float("inf")
