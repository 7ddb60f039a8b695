"""How a version of a local artefact becomes the current one: first to the disk, then one rename."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from patchcore_assets.storage.artefact import SIDECAR, Artefact, files_of
from patchcore_assets.storage.hashed import HashedFiles
from patchcore_assets.storage.local.durable import clock_past, flush, flush_entries
from patchcore_assets.storage.locks import lock_of
from patchcore_ops.runtime.fingerprints import HashOf


class LocalStaging:
    """A version folder that is being filled; see `Staging`."""

    def __init__(
        self,
        asset: str,
        category: str | None,
        folder: Path,
        link: Path,
        refused: Path,
        lock: int,
        hashes: HashedFiles,
    ) -> None:
        self.folder = folder
        self._asset = asset
        self._category = category
        self._link = link
        self._refused = refused
        self._lock = lock
        self._hashes = hashes

    @property
    def location(self) -> str:
        """The path at which users will find the files."""
        return str(self._link)

    def share(self, source: Path, name: str) -> None:
        """Link a file of an artefact into this version; see `Staging.share`."""
        self._hashes.link(source, self.folder / name)

    def commit(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
        made_from: Mapping[str, str] | None = None,
    ) -> Artefact:
        """Make this version the current one, in one rename, when all of it is on the disk."""
        artefact = self.describe(provenance, unversioned, made_from)
        self.publish()
        return artefact

    def publish(self) -> None:
        """Make this version the current one; its files and its sidecar are there."""
        folders = [place for place in self.folder.rglob("*") if place.is_dir()]
        flush([self.folder / SIDECAR, *folders, self.folder])
        flush_entries(self.folder.parent)
        self._switch()
        if self._refused.exists():
            shutil.rmtree(self._refused, ignore_errors=True)

    def refuse(self, provenance: Mapping[str, str]) -> str:
        """Move this version to where refused ones are kept; see `Staging.refuse`."""
        self.describe(provenance, (), None)
        self._refused.parent.mkdir(parents=True, exist_ok=True)
        if self._refused.exists():
            shutil.rmtree(self._refused)
        self.folder.rename(self._refused)
        return str(self._refused)

    def describe(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str],
        made_from: Mapping[str, str] | None,
    ) -> Artefact:
        """Hash the files, and write the sidecar; the disk takes the files meanwhile."""
        files = files_of(self.folder)
        with ThreadPoolExecutor(1, "flushing") as pool:
            flushed = pool.submit(flush, files)
            artefact = Artefact.describe(
                self._asset,
                self._category,
                self.folder,
                provenance,
                unversioned,
                self.hash_of(files),
                made_from,
            )
            flushed.result()
        artefact = replace(artefact, version=self.folder.name)
        artefact.write_sidecar()
        return artefact

    def hash_of(self, files: Collection[Path]) -> HashOf:
        """Return what gives a file's SHA-256; it remembers those of files that are written."""
        newest = max((file.stat().st_ctime_ns for file in files), default=0)
        return partial(self._hashes.hash, settled_ns=clock_past(self._lock, newest))

    def _switch(self) -> None:
        self._link.parent.mkdir(parents=True, exist_ok=True)
        self._set_plain_folder_aside()
        new = link_to(self._link, self.folder)
        try:
            new.symlink_to(os.path.relpath(self.folder, self._link.parent))
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            # So say FAT and exFAT, which have no links.
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(new)) from error
        new.replace(self._link)
        # The version before must not go before the disk knows the new one.
        flush_entries(self._link.parent)

    def _set_plain_folder_aside(self) -> None:
        """Make room where a copy that followed links has left a folder instead of a link."""
        if self._link.is_dir() and not self._link.is_symlink():
            aside = self.folder.with_name(uuid.uuid4().hex[:8])
            lock_of(aside).touch()
            # Another writer may have been quicker.
            with suppress(FileNotFoundError):
                self._link.rename(aside)


def link_to(link: Path, folder: Path) -> Path:
    """Return the name under which the link to a version is made, before it is switched."""
    return link.with_name(f".{link.name}.{folder.name}")
