"""Artefacts in a local folder: each version is a folder of its own, and a link names the current.

`<root>/<asset>/<category>` is a symbolic link to `<root>/.versions/<asset>/<category>/<version>`.
Renaming a new link over the old one switches all files of an artefact at once. A version folder is
in use as long as some process holds a lock on the file beside it, be it to fill or to read it; any
other version folder that no link names is litter, and the next writer removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from patchcore_assets.storage.artefact import SIDECAR, Artefact, missing

_VERSIONS = ".versions"


class LocalStore:
    """An artefact store in a folder of this machine; see `ArtefactStore`."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    @property
    def root(self) -> str:
        """The folder below which everything lies."""
        return str(self._root)

    @contextmanager
    def stage(self, asset: str, category: str | None) -> Iterator[LocalStaging]:
        """Open a folder for a new version; what was not committed is thrown away on leaving."""
        versions = self._versions(asset, category)
        versions.mkdir(parents=True, exist_ok=True)
        self._remove_litter(asset, category)
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        with _locked(versions / f"{version}.lock", fcntl.LOCK_EX):
            folder = versions / version
            folder.mkdir()
            try:
                yield LocalStaging(asset, category, folder, self._link(asset, category))
            finally:
                if not self._is_current(folder, asset, category):
                    shutil.rmtree(folder, ignore_errors=True)
        self._remove_litter(asset, category)

    @contextmanager
    def open(self, asset: str, category: str | None) -> Iterator[Artefact]:
        """Open the current version for reading; see `ArtefactStore.open`."""
        while True:
            folder = self._current(asset, category)
            if folder is None:
                raise missing(asset, category, self.root)
            with _locked(folder.with_name(f"{folder.name}.lock"), fcntl.LOCK_SH):
                # It may have been replaced and removed before the lock was ours.
                if (folder / SIDECAR).is_file():
                    yield Artefact.read(folder)
                    return
            if self._current(asset, category) == folder:
                raise missing(asset, category, self.root)

    def location(self, asset: str, category: str | None) -> str:
        """Return the path at which users find the artefact."""
        return str(self._link(asset, category))

    def categories(self, asset: str) -> list[str]:
        """Return the categories for which the asset has an artefact, sorted."""
        folder = self._root / asset
        if not folder.is_dir():
            return []
        return sorted(link.name for link in folder.iterdir() if (link / SIDECAR).is_file())

    def _link(self, asset: str, category: str | None) -> Path:
        return self._root / asset if category is None else self._root / asset / category

    def _versions(self, asset: str, category: str | None) -> Path:
        return self._root / _VERSIONS / asset / (category or "_")

    def _current(self, asset: str, category: str | None) -> Path | None:
        try:
            target = self._link(asset, category).readlink()
        except OSError:
            return None
        return self._versions(asset, category) / target.name

    def _is_current(self, folder: Path, asset: str, category: str | None) -> bool:
        return self._current(asset, category) == folder

    def _remove_litter(self, asset: str, category: str | None) -> None:
        """Remove the versions that are neither current nor in use."""
        current = self._current(asset, category)
        for lock in self._versions(asset, category).glob("*.lock"):
            folder = lock.with_suffix("")
            if folder == current:
                continue
            try:
                with _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.unlink(missing_ok=True)
            except BlockingIOError:
                continue


class LocalStaging:
    """A version folder that is being filled; see `Staging`."""

    def __init__(self, asset: str, category: str | None, folder: Path, link: Path) -> None:
        self.folder = folder
        self._asset = asset
        self._category = category
        self._link = link

    def commit(self, provenance: Mapping[str, str]) -> Artefact:
        """Make this version the current one, in one rename."""
        artefact = Artefact.describe(self._asset, self._category, self.folder, provenance)
        artefact.write_sidecar()
        self._link.parent.mkdir(parents=True, exist_ok=True)
        new_link = self._link.with_name(f".{self._link.name}.{self.folder.name}")
        new_link.symlink_to(os.path.relpath(self.folder, self._link.parent))
        new_link.replace(self._link)
        return artefact


@contextmanager
def _locked(file: Path, operation: int) -> Iterator[None]:
    """Hold an advisory lock on a file; the system releases it however the process ends."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
