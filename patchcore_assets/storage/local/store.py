"""Artefacts in a local folder: each version is a folder of its own, and a link names the current.

`<root>/<asset>/<category>` (or `<category>/<day>`) is a symbolic link to
`<root>/.versions/<asset>/<category>/<version>`. Renaming a new link over the old one switches all
files of an artefact at once. A version folder is in use as long as some process holds a lock on the
file beside it, be it to fill or to read it; any other version folder that no link names is litter,
and the next writer of the same asset removes it.

Of what a writer leaves, the lock file comes first and goes last: whenever it dies, the lock file
leads to the rest. A version's name is unique and otherwise means nothing; no clock is relied upon.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from patchcore_assets.storage.artefact import (
    SIDECAR,
    Artefact,
    DamagedArtefact,
    files_of,
    missing,
    of,
)
from patchcore_assets.storage.hashed import HashedFiles
from patchcore_assets.storage.local.problems import readable, storage_problems
from patchcore_assets.storage.local.staging import LocalStaging, link_to
from patchcore_assets.storage.locks import lock_of, locked

_VERSIONS = ".versions"
_REFUSED = ".refused"
# Stands for the category of an asset that has none.
_NO_CATEGORY = "_"


class LocalStore:
    """An artefact store in a folder of this machine; see `ArtefactStore`."""

    def __init__(
        self, root: str, hashes: HashedFiles | None = None, setting: str = "storage.root"
    ) -> None:
        self._root = Path(root)
        self._hashes = HashedFiles() if hashes is None else hashes
        self._setting = setting

    @property
    def root(self) -> str:
        """The folder below which everything lies."""
        return str(self._root)

    @contextmanager
    def stage(self, asset: str, category: str | None) -> Iterator[LocalStaging]:
        """Open a folder for a new version; what was not committed is thrown away on leaving.

        Raises
        ------
        StorageProblem
            If the folder cannot take the files, also where that shows while they are written.
        """
        with self._problems(asset, category):
            versions = self._versions(asset, category)
            versions.mkdir(parents=True, exist_ok=True)
            # Looking through all artefacts would take seconds beside many categories and days.
            for beside in {lock.parent for lock in versions.parent.glob("*/*.lock")}:
                self._remove_litter(beside)
            version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
            folder = versions / version
            try:
                with locked(lock_of(folder), create=True) as lock:
                    folder.mkdir()
                    yield LocalStaging(
                        asset,
                        category,
                        folder,
                        self._link(asset, category),
                        self._root / _REFUSED / asset / (category or _NO_CATEGORY),
                        lock,
                        self._hashes,
                    )
            finally:
                self._remove_litter(versions)

    @contextmanager
    def open(
        self, asset: str, category: str | None, only: Collection[str] | None = None
    ) -> Iterator[Artefact]:
        """Open the current version for reading, verified; see `ArtefactStore.open`.

        Where what uses it fails, the files are verified again: they may be the reason.
        """
        with ExitStack() as reading:
            with readable(self._setting):
                artefact = self._enter(asset, category, reading)
            artefact.verify(only)
            try:
                yield artefact
            except DamagedArtefact:
                raise
            except Exception:
                artefact.verify(only)
                raise

    def _enter(self, asset: str, category: str | None, reading: ExitStack) -> Artefact:
        """Lock the current version for reading, whichever it is by then."""
        while (folder := self._current(asset, category)) is not None:
            with suppress(FileNotFoundError):
                reading.enter_context(locked(lock_of(folder), shared=True, create=folder.is_dir()))
                if folder.is_dir():
                    return Artefact.read(folder, asset, category, self._hashes)
            if self._current(asset, category) == folder:
                raise missing(asset, category, self.root)
        link = self._link(asset, category)
        if link.is_symlink() and self._current(asset, category) is not None:
            # The first version has been made just now.
            return self._enter(asset, category, reading)
        if (link / SIDECAR).is_file():
            # A copy that followed links holds the files themselves.
            return Artefact.read(link, asset, category, self._hashes)
        raise missing(asset, category, self.root)

    def remove(self, asset: str, category: str | None) -> None:
        """Remove an artefact, if it is there; see `ArtefactStore.remove`.

        Raises
        ------
        StorageProblem
            If the folder may not be changed.
        """
        link, versions = self._link(asset, category), self._versions(asset, category)
        with self._problems(asset, category):
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)  # A copy that followed links.
            self.forget(asset, category)
            with suppress(OSError):  # Somebody is reading it, and leaves the rest to the next.
                versions.rmdir()

    def forget(self, asset: str, category: str | None) -> None:
        """Remove an artefact that others may be making anew at this moment."""
        self._link(asset, category).unlink(missing_ok=True)
        self._remove_litter(self._versions(asset, category))

    def location(self, asset: str, category: str | None) -> str:
        """Return the path at which users find the artefact."""
        return str(self._link(asset, category))

    def categories(self, asset: str) -> list[str]:
        """Return the categories for which the asset has an artefact, sorted."""
        return self._artefacts_in(self._root / asset)

    def days(self, asset: str, category: str) -> list[str]:
        """Return the days of a category for which the asset has an artefact, sorted."""
        return self._artefacts_in(self._root / asset / category)

    def _artefacts_in(self, folder: Path) -> list[str]:
        with readable(self._setting):
            if not folder.is_dir():
                return []
            return sorted(
                link.name
                for link in folder.iterdir()
                if (link / SIDECAR).is_file() and not link.name.startswith(".")
            )

    def _problems(self, asset: str, category: str | None) -> AbstractContextManager[None]:
        return storage_problems(self._root, f"{asset}{of(category)}", self._setting)

    def _link(self, asset: str, category: str | None) -> Path:
        return self._root / asset if category is None else self._root / asset / category

    def _versions(self, asset: str, category: str | None) -> Path:
        return self._root / _VERSIONS / asset / (category or _NO_CATEGORY)

    def _current(self, asset: str, category: str | None) -> Path | None:
        versions, link = self._versions(asset, category), self._link(asset, category)
        try:
            name = link.readlink().name
        except OSError:
            return None
        return versions / name if name not in ("", "..") else None

    def _remove_litter(self, versions: Path) -> None:
        """Remove an artefact's versions that are neither current nor in use."""
        asset, *names = versions.relative_to(self._root / _VERSIONS).parts
        category = None if names == [_NO_CATEGORY] else "/".join(names)
        for lock in versions.glob("*.lock"):
            folder = lock.with_suffix("")
            with (
                suppress(BlockingIOError, FileNotFoundError),
                locked(lock, wait=False, create=False),
            ):
                # Only now: another process may just have made this version the current one.
                current = self._current(asset, category)
                if folder != current:
                    link_to(self._link(asset, category), folder).unlink(missing_ok=True)
                    with self._hashes.keeping(files_of(current) if current else ()):
                        shutil.rmtree(folder, ignore_errors=True)
                    if not folder.exists():
                        lock.unlink(missing_ok=True)
