"""The interface of an artefact store, and the choice between a local and a remote one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from patchcore_assets.storage.artefact import Artefact
from patchcore_assets.storage.hashed import HashedFiles
from patchcore_ops.config import BenchmarkConfig


class Staging(Protocol):
    """A folder in which an artefact is being made; nobody sees it before `commit`."""

    @property
    def folder(self) -> Path:
        """Local folder that receives the files."""

    @property
    def location(self) -> str:
        """The path or URL at which users will find the files after `commit`."""

    def share(self, source: Path, name: str) -> None:
        """Put a file of an opened artefact into the folder as well, without a second copy.

        Where the file system or the storage cannot share, it is copied.
        """

    def commit(
        self,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
        made_from: Mapping[str, str] | None = None,
    ) -> Artefact:
        """Put the folder in the place of the artefact's earlier version, as a whole.

        Files named in `unversioned` do not count in the artefact's data version; the versions in
        `made_from` do. What was refused before is removed.
        """

    def refuse(self, provenance: Mapping[str, str]) -> str:
        """Keep the folder aside, where nothing reads it; the current version stays.

        It takes the place of what was refused before.
        """


class ArtefactStore(Protocol):
    """Keeps one version of each artefact at `<root>/<asset>/<category>/`.

    Where an asset has days as well, `category/day` stands for the category.

    A version appears and disappears as a whole. While one is being read it stays.
    """

    @property
    def root(self) -> str:
        """The folder or URL below which everything lies."""

    def stage(self, asset: str, category: str | None) -> AbstractContextManager[Staging]:
        """Open a folder for a new version; what was not committed is thrown away on leaving."""

    def open(
        self, asset: str, category: str | None, only: Collection[str] | None = None
    ) -> AbstractContextManager[Artefact]:
        """Open the current version for reading, verified against its checksums.

        With `only`, no other files than these are verified, or brought here.

        Raises
        ------
        MissingArtefact
            If there is none.
        DamagedArtefact
            If its files are not those that were written. Also on leaving by another error, where
            they are damaged by then.
        """

    def remove(self, asset: str, category: str | None) -> None:
        """Remove an artefact, if it is there; who is reading it goes on."""

    def location(self, asset: str, category: str | None) -> str:
        """Return the path or URL at which users find the artefact."""

    def categories(self, asset: str) -> list[str]:
        """Return the categories for which the asset has an artefact, sorted."""

    def days(self, asset: str, category: str) -> list[str]:
        """Return the days of a category for which the asset has an artefact, sorted.

        Of a day that is being made for the first time there may be none yet.
        """


def open_store(
    root: str,
    hashes: HashedFiles | None = None,
    cache: Path | None = None,
    cache_bytes: int | None = None,
) -> ArtefactStore:
    """Open the store at a folder or at any URL that fsspec understands."""
    if "://" in root:
        from patchcore_assets.storage.remote.cache import ArtefactCache
        from patchcore_assets.storage.remote.store import RemoteStore

        return RemoteStore(root, ArtefactCache(cache, cache_bytes, hashes))
    from patchcore_assets.storage.local.store import LocalStore

    return LocalStore(root, hashes)


def store_of(config: BenchmarkConfig, hashes: HashedFiles | None = None) -> ArtefactStore:
    """Open the store of a configuration."""
    return open_store(config.storage_root, hashes, config.storage_cache, config.storage_cache_bytes)
