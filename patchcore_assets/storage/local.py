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
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
        try:
            with _locked(_lock_of(versions / version), fcntl.LOCK_EX, create=True):
                folder = versions / version
                folder.mkdir()
                yield LocalStaging(asset, category, folder, self._link(asset, category))
        finally:
            self._remove_litter(asset, category)

    @contextmanager
    def open(self, asset: str, category: str | None) -> Iterator[Artefact]:
        """Open the current version for reading; see `ArtefactStore.open`."""
        with ExitStack() as reading:
            yield self._enter(asset, category, reading)

    def _enter(self, asset: str, category: str | None, reading: ExitStack) -> Artefact:
        """Lock the current version for reading, whichever it is by then."""
        while (folder := self._current(asset, category)) is not None:
            with suppress(FileNotFoundError):
                lock = _locked(_lock_of(folder), fcntl.LOCK_SH, create=folder.is_dir())
                reading.enter_context(lock)
                return Artefact.read(folder)
            if self._current(asset, category) == folder:
                raise missing(asset, category, self.root)
        with suppress(FileNotFoundError, NotADirectoryError):
            # A copy that followed links holds the files themselves.
            return Artefact.read(self._link(asset, category))
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

    def _remove_litter(self, asset: str, category: str | None) -> None:
        """Remove the versions that are neither current nor in use."""
        for lock in self._versions(asset, category).glob("*.lock"):
            folder = lock.with_suffix("")
            with (
                suppress(BlockingIOError, FileNotFoundError),
                _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, create=False),
            ):
                # Only now: another process may just have made this version the current one.
                if folder != self._current(asset, category):
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.unlink(missing_ok=True)


class LocalStaging:
    """A version folder that is being filled; see `Staging`."""

    def __init__(self, asset: str, category: str | None, folder: Path, link: Path) -> None:
        self.folder = folder
        self._asset = asset
        self._category = category
        self._link = link

    def commit(self, provenance: Mapping[str, str], unversioned: Collection[str] = ()) -> Artefact:
        """Make this version the current one, in one rename."""
        artefact = Artefact.describe(
            self._asset, self._category, self.folder, provenance, unversioned
        )
        artefact.write_sidecar()
        self._link.parent.mkdir(parents=True, exist_ok=True)
        self._set_plain_folder_aside()
        new_link = self._link.with_name(f".{self._link.name}.{self.folder.name}")
        new_link.symlink_to(os.path.relpath(self.folder, self._link.parent))
        new_link.replace(self._link)
        return artefact

    def _set_plain_folder_aside(self) -> None:
        """Make room where a copy that followed links has left a folder instead of a link."""
        if self._link.is_dir() and not self._link.is_symlink():
            aside = self.folder.with_name(f"copied-{uuid.uuid4().hex[:8]}")
            _lock_of(aside).touch()
            self._link.rename(aside)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


@contextmanager
def _locked(file: Path, operation: int, *, create: bool) -> Iterator[None]:
    """Hold an advisory lock on a file; the system releases it however the process ends."""
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    while True:
        descriptor = os.open(file, flags, 0o644)
        try:
            fcntl.flock(descriptor, operation)
            # The file may have been removed, or made anew, while we waited for it.
            if _is_same_file(descriptor, file):
                yield
                return
        finally:
            os.close(descriptor)


def _is_same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
