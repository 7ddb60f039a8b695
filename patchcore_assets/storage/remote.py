"""Artefacts in a remote store (S3 and whatever else fsspec reaches).

Files are made in a local scratch folder and uploaded with the sidecar last; what is read is
downloaded to a local scratch folder first, and checked against the sidecar.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from upath import UPath

from patchcore_assets.storage.artefact import SIDECAR, Artefact, missing


class RemoteStore:
    """An artefact store at a URL; see `ArtefactStore`."""

    def __init__(self, root: str) -> None:
        self._root = UPath(root)

    @property
    def root(self) -> str:
        """The URL below which everything lies."""
        return str(self._root)

    @contextmanager
    def stage(self, asset: str, category: str | None) -> Iterator[RemoteStaging]:
        """Open a local folder for a new version; nothing is uploaded before `commit`."""
        with tempfile.TemporaryDirectory(prefix="patchcore-") as scratch:
            yield RemoteStaging(asset, category, Path(scratch), self._place(asset, category))

    @contextmanager
    def open(self, asset: str, category: str | None) -> Iterator[Artefact]:
        """Download the current version for reading; see `ArtefactStore.open`."""
        place = self._place(asset, category)
        if not (place / SIDECAR).is_file():
            raise missing(asset, category, self.root)
        with tempfile.TemporaryDirectory(prefix="patchcore-") as scratch:
            folder = Path(scratch)
            place.fs.get_file((place / SIDECAR).path, str(folder / SIDECAR))
            artefact = Artefact.read(folder)
            for name in artefact.files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    place.fs.get_file((place / name).path, str(folder / name))
            artefact.verify()
            yield artefact

    def location(self, asset: str, category: str | None) -> str:
        """Return the URL at which users find the artefact."""
        return str(self._place(asset, category))

    def categories(self, asset: str) -> list[str]:
        """Return the categories for which the asset has an artefact, sorted."""
        folder = self._root / asset
        if not folder.is_dir():
            return []
        return sorted(place.name for place in folder.iterdir() if (place / SIDECAR).is_file())

    def _place(self, asset: str, category: str | None) -> UPath:
        return self._root / asset if category is None else self._root / asset / category


class RemoteStaging:
    """A scratch folder whose content will be uploaded; see `Staging`."""

    def __init__(self, asset: str, category: str | None, folder: Path, place: UPath) -> None:
        self.folder = folder
        self._asset = asset
        self._category = category
        self._place = place

    def commit(self, provenance: Mapping[str, str], unversioned: Collection[str] = ()) -> Artefact:
        """Upload the files, and the sidecar when all of them are there."""
        artefact = Artefact.describe(
            self._asset, self._category, self.folder, provenance, unversioned
        )
        artefact.write_sidecar()
        for name in (*artefact.files, SIDECAR):
            target = self._place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self._place.fs.put_file(str(self.folder / name), target.path)
        self._remove_others({*artefact.files, SIDECAR})
        return artefact

    def _remove_others(self, names: set[str]) -> None:
        """Remove the files of the version before that this one does not have."""
        prefix = self._place.path.rstrip("/") + "/"
        for path in self._place.fs.find(self._place.path):
            if path.removeprefix(prefix) not in names:
                self._place.fs.rm_file(path)
