"""Exported networks in a folder of this machine, for who works without a storage."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchcore_ops.embedding.exported_network import NetworkSettings
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.files import user_cache
from patchcore_ops.runtime.fingerprints import file_hash

# The SHA-256 of each other file: a crash may leave a file that is empty.
_HASHES = "sha256.json"


def user_networks() -> Path:
    """Return the folder of the user's own cache that keeps exported networks."""
    return user_cache() / "patchcore" / "networks"


class NetworkFolder:
    """Keeps exported networks below a folder, each by its identity.

    One is made beside its place and renamed, so that another process never sees a part of it. One
    that is damaged is made again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """See `NetworkStore.opened`; EnvironmentProblem if the folder cannot take the network."""
        folder = self._root / settings.identity
        if not _is_whole(folder):
            try:
                self._make(folder, make)
            except OSError as error:
                place = Path(error.filename or self._root)
                if not (place.is_relative_to(self._root) or self._root.is_relative_to(place)):
                    raise
                raise EnvironmentProblem(
                    f"{place}: an exported network cannot be written here "
                    f"({error.strerror or error}); give it room and rights, or set XDG_CACHE_HOME "
                    "to another folder (in Python: network_folder)"
                ) from error
        yield folder

    def _make(self, folder: Path, make: Callable[[Path], None]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=self._root, ignore_cleanup_errors=True
        ) as name:
            made = Path(name, "made")
            made.mkdir()
            make(made)
            hashes = {file.name: file_hash(file) for file in made.iterdir()}
            (made / _HASHES).write_text(json.dumps(hashes), encoding="utf-8")
            if not _is_whole(folder):
                with suppress(FileNotFoundError):
                    folder.rename(Path(name, "damaged"))
            try:
                made.rename(folder)
            except OSError:
                # Another process was quicker.
                if not _is_whole(folder):
                    raise

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        """See `NetworkStore.kept`."""
        folder = self._root / identity
        yield folder if _is_whole(folder) else None


def copy_network(network: Path, folder: Path) -> None:
    """Copy the files of an exported network."""
    for file in network.iterdir():
        if file.name != _HASHES:
            shutil.copyfile(file, folder / file.name)


def _is_whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / _HASHES).read_bytes())
        return all(file_hash(folder / name) == expected for name, expected in hashes.items())
    except (OSError, ValueError):
        return False
