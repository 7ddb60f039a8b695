"""One artefact: a folder of files, and the sidecar that says what belongs into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from patchcore_ops.errors import UserError
from patchcore_ops.fingerprints import file_hash

SIDECAR = "artefact.json"


class MissingArtefact(UserError):
    """An artefact that a later one needs has not been materialised."""


class DamagedArtefact(UserError):
    """An artefact's files are not those that its sidecar lists."""


@dataclass(frozen=True)
class Artefact:
    """What one asset holds for one category (or for all, where `category` is None).

    Attributes
    ----------
    folder : Path
        Local folder of the files.
    files : mapping of str to (bytes, SHA-256)
        By path relative to the folder.
    provenance : mapping of str to str
        What it was made from and with.
    unversioned : collection of str
        The files that do not count in the data version, because they tell of earlier versions.
    """

    asset: str
    category: str | None
    folder: Path
    files: Mapping[str, tuple[int, str]]
    provenance: Mapping[str, str]
    unversioned: Collection[str] = ()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for size, _ in self.files.values())

    @property
    def data_version(self) -> str:
        """A version that follows the content alone: equal files, equal versions."""
        lines = sorted(
            f"{name}\0{digest}"
            for name, (_, digest) in self.files.items()
            if name not in self.unversioned
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @property
    def lineage(self) -> dict[str, str]:
        """What this artefact is and what it was made from, as what is made from it records it.

        Keys are `<asset>.<what>`, for instance `raw_embeddings.data_version`.
        """
        recorded = {
            key if "." in key else f"{self.asset}.{key}": value
            for key, value in self.provenance.items()
        }
        return {**recorded, f"{self.asset}.data_version": self.data_version}

    @staticmethod
    def describe(
        asset: str,
        category: str | None,
        folder: Path,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
    ) -> Artefact:
        """Measure and hash the files of a folder."""
        files = {
            file.relative_to(folder).as_posix(): (file.stat().st_size, file_hash(file))
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.name != SIDECAR
        }
        return Artefact(asset, category, folder, files, dict(provenance), tuple(unversioned))

    def write_sidecar(self) -> None:
        """Write `artefact.json` into the folder."""
        content = {
            "asset": self.asset,
            "category": self.category,
            "data_version": self.data_version,
            "files": {
                name: {"bytes": size, "sha256": digest}
                for name, (size, digest) in self.files.items()
            },
            "unversioned": sorted(self.unversioned),
            "provenance": dict(self.provenance),
        }
        (self.folder / SIDECAR).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def verify(self) -> None:
        """Compare the files in the folder with the sidecar.

        Raises
        ------
        DamagedArtefact
            If a file is missing or has another content than was written.
        """
        for name, (size, digest) in self.files.items():
            file = self.folder / name
            if not file.is_file() or file.stat().st_size != size or file_hash(file) != digest:
                raise DamagedArtefact(
                    f"{name} of {self.asset}{_of(self.category)} is not what was written; "
                    f"make the artefact again: {_command(self.asset, self.category)}"
                )

    @staticmethod
    def read(folder: Path) -> Artefact:
        """Read the artefact of a folder from its sidecar."""
        content = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        return Artefact(
            content["asset"],
            content["category"],
            folder,
            {name: (file["bytes"], file["sha256"]) for name, file in content["files"].items()},
            content["provenance"],
            tuple(content.get("unversioned", ())),
        )


def missing(asset: str, category: str | None, root: str) -> MissingArtefact:
    """Say that an artefact is not there, and the command that makes it."""
    return MissingArtefact(
        f"{asset}{_of(category)} is not in {root}; make it first: {_command(asset, category)}"
    )


def _of(category: str | None) -> str:
    return "" if category is None else f" of '{category}'"


def _command(asset: str, category: str | None) -> str:
    partition = "" if category is None else f" --partition {category}"
    return f"dagster asset materialize -m patchcore_assets --select {asset}{partition}"
