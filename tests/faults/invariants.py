"""What must hold of a storage at any moment, written without the code that it judges."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from sites import ASSETS, Site, place_of

# What each wave has measured, an artefact for each.
WAVES = "waves"
Content = Mapping[str, str]
"""What counts in an artefact's data version: each file's SHA-256, each version it was made from."""


class Broken(Exception):
    """A storage in a state in which it must never be."""


def content_of(storage: Path, asset: str) -> Content | None:
    """Read and hash an artefact as anyone finds it at its place."""
    place = place_of(storage, asset)
    if not place.is_symlink() and not place.exists():
        return None
    if not (place / "artefact.json").is_file():
        raise Broken(f"{asset}: there is something, but no sidecar")
    sidecar = json.loads((place / "artefact.json").read_text())
    found = {
        file.relative_to(place).as_posix(): file.read_bytes()
        for file in place.rglob("*")
        if file.is_file() and file.name != "artefact.json"
    }
    if found.keys() != sidecar["files"].keys():
        raise Broken(f"{asset}: {sorted(found)} instead of {sorted(sidecar['files'])}")
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    for name, digest in hashes.items():
        recorded = sidecar["files"][name]
        if (len(found[name]), digest) != (recorded["bytes"], recorded["sha256"]):
            raise Broken(f"{asset}: {name} is not what was written")
    counted = {
        name: digest for name, digest in hashes.items() if name not in sidecar["unversioned"]
    }
    return {**counted, **{f"<\0{place}": one for place, one in sidecar["made_from"].items()}}


def data_version(content: Content) -> str:
    """Return the data version that follows from a content: files, then what they were made from."""
    ordered = sorted(content.items(), key=lambda one: (one[0].startswith("<\0"), one[0]))
    lines = [f"{name}\0{digest}" for name, digest in ordered]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def litter(storage: Path) -> list[str]:
    """Name everything that belongs to no current version."""
    # The configurations of runs stay: a run may be continued.
    kept = {*(storage / ".configurations").glob("*.json")}
    places = [place_of(storage, asset) for asset in ASSETS]
    for place in (*places, *(storage / WAVES).glob("[!.]*")):
        if place.is_symlink():
            kept |= {place, place.parent.resolve() / place.name}
            folder = place.resolve()
            kept |= {folder, folder.with_name(f"{folder.name}.lock"), *folder.rglob("*")}
    entries = (entry for entry in _entries(storage) if entry not in kept)
    return sorted(
        entry.relative_to(storage).as_posix()
        for entry in entries
        if entry.is_symlink() or not entry.is_dir() or len(entry.relative_to(storage).parts) > 3
    )


def _entries(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _entries(entry)


def check_history(site: Site) -> None:
    """See that Dagster's databases are sound."""
    for file in site.home.rglob("*.db"):
        connection = sqlite3.connect(file)
        try:
            (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
        finally:
            connection.close()
        if answer != "ok":
            raise Broken(f"{file.name}: {answer}")
