"""Writing artefacts into a store and reading them, as the tests of every store do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from patchcore_assets.storage import Artefact, ArtefactStore


def put(
    store: ArtefactStore,
    files: Mapping[str, bytes | str],
    asset: str = "asset",
    category: str | None = "c",
) -> Artefact:
    """Commit a version."""
    with store.stage(asset, category) as staging:
        for name, content in files.items():
            target = staging.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        return staging.commit({"run_id": "a run"})


def read(
    store: ArtefactStore, asset: str = "asset", category: str | None = "c"
) -> dict[str, bytes]:
    """Open an artefact and return its files."""
    with store.open(asset, category) as artefact:
        return {name: (artefact.folder / name).read_bytes() for name in artefact.files}


def flip_a_bit(file: Path) -> None:
    """Change one bit and nothing else that shows: neither size nor time."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
