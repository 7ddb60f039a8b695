"""Whole files in a remote file system; all that is asked of fsspec goes through here.

Nothing that a listing has said is remembered: other processes write to the same place.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from patchcore_assets.storage.remote.errors import StorageRefused, plainly
from patchcore_ops.config.addresses import CREDENTIALS_IN_URL, holds_credentials

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_S3 = frozenset({"s3", "s3a"})
# Eight files come down at once, each as a stream; four go up, each in two pieces of 8 MiB. So at
# most 64 MiB are in memory.
_DOWNLOADS = {"batch_size": 8}
_UPLOADS = {"batch_size": 4, "max_concurrency": 2}
_PIECE_BYTES = 8 << 20
_MOST_PIECES = 10_000  # S3's limit.
# The client below s3fs asks again too: with more, a storage that never answers holds a step for
# half an hour.
S3_TRIES = 3
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class Stored(NamedTuple):
    """What a listing says of a file."""

    size: int
    written: float | None


class Objects:
    """The files below a URL, by their path relative to it.

    Every method raises `StorageRefused` or `StorageBusy`; see `plainly`.

    Raises
    ------
    StorageRefused
        If the URL holds credentials, or nothing speaks its protocol.
    """

    def __init__(self, root: str) -> None:
        import fsspec

        if holds_credentials(root):
            raise StorageRefused(f"storage.root {CREDENTIALS_IN_URL}")
        self.root = root.rstrip("/")
        protocol = root.partition("://")[0]
        self._is_s3 = protocol in _S3
        self._has_folders = protocol not in _OBJECT_STORES
        options: dict[str, Any] = {} if self._has_folders else {"use_listings_cache": False}
        if self._is_s3:
            options["max_concurrency"] = 1
        try:
            self._system, base = fsspec.core.url_to_fs(root, **options)
        except (ImportError, ValueError) as error:
            raise StorageRefused(
                f"{root}: nothing here speaks the protocol '{protocol}' ({error}); install its "
                'fsspec client, for S3 by pip install "s3fs>=2024.12", or correct storage.root'
            ) from None
        self._base = base.rstrip("/")
        if self._is_s3:
            self._system.retries = S3_TRIES

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or None if it is not there."""
        with suppress(FileNotFoundError), plainly(self.root):
            return bytes(self._system.cat_file(self._path(name)))
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file; an object store does that at once or not at all."""
        with plainly(self.root):
            self._make_folders([name])
            self._system.pipe_file(self._path(name), content)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write local files, given by their names here.

        Raises
        ------
        FileNotFoundError
            If the storage has forgotten the beginning of one, or has all of it already.
        """
        largest = max((file.stat().st_size for file in files.values()), default=0)
        piece = max(_PIECE_BYTES, -(-largest // _MOST_PIECES))
        options = {**_UPLOADS, "chunksize": piece} if self._is_s3 else {}
        with plainly(self.root):
            self._make_folders(files)
            self._system.put([str(file) for file in files.values()], self._paths(files), **options)

    def copy(self, files: Mapping[str, str]) -> None:
        """Copy files within the storage: from the value's name to the key's.

        Raises
        ------
        FileNotFoundError
            If one is not there.
        """
        with plainly(self.root):
            self._make_folders(files)
            self._system.copy(self._paths(files.values()), self._paths(files))

    def download(self, files: Mapping[str, Path]) -> None:
        """Copy files to local paths.

        Raises
        ------
        FileNotFoundError
            If one is not there.
        """
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        options = _DOWNLOADS if self._is_s3 else {}
        with plainly(self.root):
            self._system.get(self._paths(files), [str(file) for file in files.values()], **options)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError), plainly(self.root):
            self._system.rm_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Remove what lies below a folder, if anything does."""
        with suppress(FileNotFoundError), plainly(self.root):
            # fsspec takes a name for a pattern here.
            self._system.rm(glob.escape(self._path(name)), recursive=True)

    def listing(self, folder: str) -> dict[str, Stored]:
        """Return all files below a folder, by their names relative to it."""
        place, found = self._path(folder), {}
        with suppress(FileNotFoundError), plainly(self.root):
            found = self._system.find(place, detail=True)
        return {
            path[len(place) + 1 :]: Stored(int(entry["size"]), _written(entry))
            for path, entry in found.items()
            if path.startswith(f"{place}/")
        }

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, without what is in them."""
        found = []
        with suppress(FileNotFoundError), plainly(self.root):
            found = self._system.ls(self._path(folder), detail=True)
        names = [str(one["name"]) for one in found if one["type"] == "directory"]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in names)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [self._path(name) for name in names]

    def _make_folders(self, names: Iterable[str]) -> None:
        """Make the folders of files where there are such things; a bucket is never made."""
        if self._has_folders:
            for folder in {path.rpartition("/")[0] for path in self._paths(names)}:
                self._system.makedirs(folder, exist_ok=True)


def _written(entry: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        value = entry.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
