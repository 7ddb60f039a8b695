"""The versions of one artefact in a remote storage, and the pointer that names the current one.

    <root>/<asset>/<category>/<version>/       the files of a version
    <root>/<asset>/<category>/artefact.json    the pointer: the current version's sidecar
    <root>/.refused/<asset>/<category>/        what a check has refused, for people

An object store writes one object at once or not at all. So a version is uploaded whole, and then
writing the pointer makes it the current one. Of two writers the last one to write the pointer wins.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from patchcore_assets.storage.artefact import files_of
from patchcore_assets.storage.remote.errors import StorageBusy, StorageRefused
from patchcore_assets.storage.remote.objects import Objects, Stored
from patchcore_assets.storage.sidecar import SIDECAR, Sidecar

_ABANDONED_AFTER_SECONDS = 86400.0
_TRIAL = "may-this-be-written"

_log = logging.getLogger(__name__)


class Versions:
    """One artefact's place in a remote storage."""

    def __init__(self, objects: Objects, asset: str, category: str | None) -> None:
        self.place = asset if category is None else f"{asset}/{category}"
        self._objects = objects
        self._pointer = f"{self.place}/{SIDECAR}"
        self._refused = f".refused/{self.place}"

    def pointer(self) -> bytes | None:
        """Read the pointer; None if there is no artefact."""
        return self._objects.read(self._pointer)

    def current(self) -> str | None:
        """Return the version that the pointer names; None where it is not there, or damaged."""
        try:
            return Sidecar.model_validate_json(self.pointer() or b"").version
        except ValidationError:
            return None

    def try_all(self) -> None:
        """Read, write and remove something, to know before any work is done that one may."""
        self.pointer()
        self._objects.write(f"{self.place}/{_TRIAL}", b"")
        self._objects.remove(f"{self.place}/{_TRIAL}")

    def url(self, version: str | None) -> str:
        """Return where a version's files lie; without a version, where all versions do."""
        place = f"{self._objects.root}/{self.place}"
        return place if version is None else f"{place}/{version}"

    def download(self, version: str | None, names: Collection[str], folder: Path) -> None:
        """Bring files of a version; what is not there is left out."""
        if not names:
            return
        place = f"{self.place}/{version}"
        # One that is not there would end the downloads of the others.
        there = self._objects.listing(place).keys() & set(names)
        with suppress(FileNotFoundError):
            self._objects.download({f"{place}/{name}": folder / name for name in there})

    def upload(self, version: str, folder: Path, copies: Mapping[str, str] | None = None) -> None:
        """Upload the files of a folder as a version that is not yet the current one.

        `copies` says which of them the storage has already, and where; it copies those itself.
        """
        place = f"{self.place}/{version}"
        files = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
        copied = self._copy(place, files, copies or {})
        # An answer that was lost lets a repeated upload fail: the listing tells what is there.
        with suppress(FileNotFoundError):
            self._objects.upload(
                {f"{place}/{name}": file for name, file in files.items() if name not in copied}
            )
        stored = self._objects.listing(place)
        for name, file in files.items():
            if name not in stored or stored[name].size != file.stat().st_size:
                raise StorageBusy(f"{name} is not in {self.url(version)} although it was uploaded")

    def _copy(
        self, place: str, files: Mapping[str, Path], copies: Mapping[str, str]
    ) -> Collection[str]:
        """Let the storage copy files; return those that are whole afterwards."""
        if not copies:
            return ()
        # A version that was superseded meanwhile is gone: what it held is uploaded.
        with suppress(FileNotFoundError):
            self._objects.copy({f"{place}/{name}": source for name, source in copies.items()})
        stored = self._objects.listing(place)
        return [
            name
            for name in copies
            if name in stored and stored[name].size == files[name].stat().st_size
        ]

    def switch(self, version: str, folder: Path) -> None:
        """Make an uploaded version the current one, and remove what it supersedes."""
        replaced = self.current()
        self._objects.write(self._pointer, (folder / SIDECAR).read_bytes())
        try:
            versions = self._versions()
            current = self.current()  # Only now: what was switched after the listing stays.
            if current != version or version in versions:
                self._remove_litter(versions, current, {version, replaced})
                self._objects.remove_folder(self._refused)
                return
        except (StorageBusy, StorageRefused) as error:
            _log.warning("superseded versions of %s stay for now: %s", self.place, error)
            return
        # The pointer was long under way: another writer has taken this version for superseded.
        self.upload(version, folder)

    def remove(self) -> None:
        """Remove the artefact: first the pointer, so that none leads to files that are gone."""
        self._objects.remove(self._pointer)
        self._objects.remove_folder(self.place)

    def keep_refused(self, folder: Path) -> str:
        """Upload a folder to where refused versions are kept; returns its URL."""
        self._objects.remove_folder(self._refused)
        files = [*files_of(folder), folder / SIDECAR]
        self._objects.upload(
            {f"{self._refused}/{file.relative_to(folder).as_posix()}": file for file in files}
        )
        return f"{self._objects.root}/{self._refused}"

    def _versions(self) -> dict[str, list[Stored]]:
        found: dict[str, list[Stored]] = defaultdict(list)
        for name, stored in self._objects.listing(self.place).items():
            if name != SIDECAR:
                found[name.partition("/")[0]].append(stored)
        return found

    def _remove_litter(
        self,
        versions: dict[str, list[Stored]],
        current: str | None,
        superseded: Collection[str | None],
    ) -> None:
        """Remove versions that are not current: superseded ones, and those of killed writers.

        A version is a killed writer's when the storage has written nothing to it for a day. The
        time is the storage's own: that of the latest file among the versions.
        """
        times = {version: _last_written(files) for version, files in versions.items()}
        now = max((time for time in times.values() if math.isfinite(time)), default=0.0)
        for version, time in times.items():
            is_abandoned = time < now - _ABANDONED_AFTER_SECONDS
            if version != current and (version in superseded or is_abandoned):
                self._objects.remove_folder(f"{self.place}/{version}")


def place_of(file: Path) -> str | None:
    """Return where the storage has a cached artefact's file; None if it is of no artefact."""
    for folder in file.parents:
        if (folder / SIDECAR).is_file():
            sidecar = Sidecar.model_validate_json((folder / SIDECAR).read_bytes())
            parts = sidecar.asset, sidecar.category, sidecar.version
            name = file.relative_to(folder).as_posix()
            return "/".join([*filter(None, parts), name]) if sidecar.version else None
    return None


def _last_written(files: Collection[Stored]) -> float:
    """Return when a version was last written to; without any time it counts as just now."""
    times = [stored.written for stored in files if stored.written is not None]
    return max(times) if times else math.inf
