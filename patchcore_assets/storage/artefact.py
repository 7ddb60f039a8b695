"""One artefact: a folder of files, and the sidecar that says what belongs into it."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patchcore_assets.storage.hashed import hash_all
from patchcore_assets.storage.sidecar import (
    SIDECAR,
    DamagedSidecar,
    read_sidecar,
    write_sidecar,
)
from patchcore_assets.storage.transient import is_transient
from patchcore_ops.runtime.errors import UserError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash

__all__ = ["SIDECAR", "Artefact", "DamagedArtefact", "MissingArtefact", "command", "missing", "of"]

# So many damaged files are named; of more, only the number.
_NAMED = 5


class MissingArtefact(UserError):
    """An artefact that a later one needs has not been materialised."""


class DamagedArtefact(UserError):
    """An artefact's files are not those that its sidecar lists."""


@dataclass(frozen=True)
class Artefact:
    """What one asset holds for one category (or for all, where `category` is None).

    Where an asset has days as well, `category` is `category/day`.
    """

    asset: str
    category: str | None
    folder: Path
    files: Mapping[str, tuple[int, str]]
    provenance: Mapping[str, str]
    unversioned: Collection[str] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)
    hash_of: HashOf = field(default=file_hash, repr=False, compare=False)
    version: str | None = None
    location: str = ""

    @property
    def place(self) -> str:
        """The artefact's name in what others record: its asset, and its category if it has one."""
        return self.asset if self.category is None else f"{self.asset}.{self.category}"

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for size, _ in self.files.values())

    @property
    def data_version(self) -> str:
        """Equal files, made from equal versions, have equal versions.

        What was read counts, so that equal versions have one history: whoever compares two versions
        of an artefact has compared everything that it goes back to.
        """
        lines = sorted(
            f"{name}\0{digest}"
            for name, (_, digest) in self.files.items()
            if name not in self.unversioned
        )
        lines.extend(f"<\0{place}\0{version}" for place, version in sorted(self.made_from.items()))
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
        own = {f"{self.asset}.data_version": self.data_version}
        if self.made_from:
            own[f"{self.asset}.made_from"] = ", ".join(sorted(self.made_from))
        return {**recorded, **own}

    @staticmethod
    def describe(
        asset: str,
        category: str | None,
        folder: Path,
        provenance: Mapping[str, str],
        unversioned: Collection[str] = (),
        hash_of: HashOf = file_hash,
        made_from: Mapping[str, str] | None = None,
    ) -> Artefact:
        """Measure and hash the files of a folder."""
        files = files_of(folder)
        digests = hash_all(files, hash_of)
        described = {
            file.relative_to(folder).as_posix(): (file.stat().st_size, digest)
            for file, digest in zip(files, digests, strict=True)
        }
        return Artefact(
            asset,
            category,
            folder,
            described,
            dict(provenance),
            tuple(unversioned),
            dict(made_from or {}),
            hash_of,
        )

    def write_sidecar(self) -> None:
        """Write `artefact.json` into the folder."""
        write_sidecar(
            self.folder,
            {
                "asset": self.asset,
                "category": self.category,
                "data_version": self.data_version,
                "files": {
                    name: {"bytes": size, "sha256": digest}
                    for name, (size, digest) in self.files.items()
                },
                "unversioned": sorted(self.unversioned),
                "made_from": dict(self.made_from),
                "provenance": dict(self.provenance),
                **({"version": self.version} if self.version else {}),
            },
        )

    def verify(self, only: Collection[str] | None = None) -> None:
        """Compare the files in the folder, or only those with these names, with the sidecar.

        Raises
        ------
        DamagedArtefact
            If a file is missing, is a link, or has another content than was written. Every such
            file is named.
        """
        # The folder may be reached through links, but be none.
        real = os.path.join(os.path.realpath(self.folder.parent), self.folder.name)  # noqa: PTH118
        names = list(self.files if only is None else only)
        faults = {
            name: fault
            for name in names
            if (fault := _fault(Path(real, name), self.files[name][0])) is not None
        }
        if not faults:
            faults = self._of_other_content(names)
        if faults:
            where = self.location or self.folder
            raise _damaged(self.asset, self.category, where, _listed(faults))

    def _of_other_content(self, names: Sequence[str]) -> dict[str, str]:
        try:
            digests = hash_all([self.folder / name for name in names], self.hash_of)
        except OSError as error:
            if is_transient(error):
                raise
            name = Path(error.filename or self.folder).name
            return {name: f"cannot be read: {error.strerror or error}"}
        return {
            name: "another content"
            for name, found in zip(names, digests, strict=True)
            if found != self.files[name][1]
        }

    @staticmethod
    def read(
        folder: Path,
        asset: str | None = None,
        category: str | None = None,
        hash_of: HashOf = file_hash,
        location: str = "",
    ) -> Artefact:
        """Read the artefact of a folder from its sidecar; the files are not looked at.

        Raises
        ------
        DamagedArtefact
            If the sidecar is not there, is not one, or is that of another artefact.
        """
        where = location or folder
        try:
            sidecar = read_sidecar(folder)
        except DamagedSidecar as fault:
            raise _damaged(asset or "artefact", category, where, f"{SIDECAR} ({fault})") from None
        except OSError as error:
            if is_transient(error):
                raise
            reason = f"{SIDECAR} (cannot be read: {error.strerror or error})"
            raise _damaged(asset or "artefact", category, where, reason) from None
        artefact = Artefact(
            sidecar.asset,
            sidecar.category,
            folder,
            {name: (file.bytes, file.sha256) for name, file in sidecar.files.items()},
            sidecar.provenance,
            tuple(sidecar.unversioned),
            sidecar.made_from,
            hash_of,
            sidecar.version,
            location,
        )
        if asset is not None and (sidecar.asset, sidecar.category) != (asset, category):
            other = f"{SIDECAR} (of {sidecar.asset}{of(sidecar.category)})"
            raise _damaged(asset, category, where, other)
        if artefact.data_version != sidecar.data_version:
            fault_of_version = f"{SIDECAR} (data_version does not follow from its files)"
            raise _damaged(sidecar.asset, sidecar.category, where, fault_of_version)
        return artefact


def files_of(folder: Path) -> list[Path]:
    """Return the files of an artefact's folder, sorted, without the sidecar."""
    sidecar = folder / SIDECAR
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and file != sidecar]


def missing(asset: str, category: str | None, root: str) -> MissingArtefact:
    """Say that an artefact is not there, and the command that makes it."""
    return MissingArtefact(
        f"{asset}{of(category)} is not in {root}; make it first: {command(asset, category)}"
    )


def of(category: str | None) -> str:
    """Return how a sentence names an artefact's category, after its asset."""
    return "" if category is None else f" of '{category}'"


def command(asset: str, category: str | None) -> str:
    """Return the command that materialises an artefact."""
    # Dagster writes category and day so.
    key = None if category is None else category.replace("/", "|")
    partition = "" if key is None else f" --partition {shlex.quote(key)}"
    return f"dagster asset materialize -m patchcore_assets --select {asset}{partition}"


def _damaged(asset: str, category: str | None, where: Path | str, what: str) -> DamagedArtefact:
    return DamagedArtefact(
        f"{what} of {asset}{of(category)} in {where} is not what was written; "
        f"make the artefact again: {command(asset, category)}"
    )


def _fault(file: Path, size: int) -> str | None:
    """Say what is wrong with a file as far as that shows without reading it."""
    if os.path.realpath(file) != str(file):
        return "a link"
    if not file.is_file():
        return "missing"
    found = file.stat().st_size
    return None if found == size else f"{found} bytes instead of {size}"


def _listed(faults: Mapping[str, str]) -> str:
    named = [f"{name} ({fault})" for name, fault in list(faults.items())[:_NAMED]]
    more = [f"{len(faults) - _NAMED} more"] if len(faults) > _NAMED else []
    return ", ".join((*named, *more))
