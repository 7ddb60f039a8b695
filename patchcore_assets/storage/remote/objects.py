"""Whole files in a remote file system, up and down, several at once and in bounded memory.

All that is asked of fsspec goes through here. Nothing that a listing has said is remembered: other
processes write to the same place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from patchcore_assets.storage.remote.refusals import StorageRefused, plainly, without_client
from patchcore_assets.storage.transient import is_transient
from patchcore_ops.config.addresses import CREDENTIALS_IN_URL, holds_credentials

# With these, at most 64 MiB of files are in memory, in either direction.
PIECE_BYTES = 8 << 20
DOWNLOADS_AT_ONCE = 8
UPLOADS_AT_ONCE = 4
_PIECES_OF_AN_UPLOAD = 2
_MOST_PIECES = 10_000  # S3's limit.

_TRIES = 3
_FIRST_WAIT_SECONDS = 0.5
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Stored(NamedTuple):
    """What a listing says of a file.

    Attributes
    ----------
    size : int
        In bytes.
    written : float or None
        When, in seconds, by the storage's clock; None where it does not say.
    """

    size: int
    written: float | None


class LostFile(FileNotFoundError):
    """A file is not there, or has fewer bytes than it should; `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not there, or not whole")
        self.name = name


class Objects:
    """The files below a URL, by their path relative to it.

    Parameters
    ----------
    root : str
        Any URL that fsspec understands. Credentials are taken from where the client finds them,
        for S3 the standard chain, never from the URL.

    Raises
    ------
    StorageRefused
        If the URL holds credentials, or nothing speaks its protocol.
    """

    def __init__(self, root: str) -> None:
        if holds_credentials(root):
            raise StorageRefused(f"storage.root {CREDENTIALS_IN_URL}")
        self.root = root.rstrip("/")
        self._protocol = root.partition("://")[0]
        try:
            with plainly(root):
                self._system, base = _connect(root, self._protocol)
        except (ImportError, ValueError) as error:
            raise without_client(root, error) from None
        self._base = base.rstrip("/")

    def read(self, name: str, at_most: int) -> bytes | None:
        """Return the content of a small file, or None if it is not there."""
        with plainly(self.root):
            try:
                return bytes(
                    _patiently(
                        lambda: self._system.cat_file(self._path(name), start=0, end=at_most)
                    )
                )
            except OSError as error:
                if _answer(error) == "InvalidRange":
                    return b""
                if not _says_lost(error):
                    raise
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file; an object store does that at once or not at all."""
        with plainly(self.root):
            self._make_folders([name])
            _patiently(lambda: self._system.pipe_file(self._path(name), content))

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write local files, given by their names here.

        Raises
        ------
        LostFile
            If the storage has forgotten the beginning of one, or has all of it already.
        """
        self._make_folders(files)
        self._each(self._upload_one, files.items(), UPLOADS_AT_ONCE)

    def download(self, files: Mapping[str, tuple[Path, int]]) -> None:
        """Copy files to local paths; of each, the given number of bytes.

        Raises
        ------
        LostFile
            If one is not there, or has fewer bytes.
        """
        pieces = []
        for name, (target, size) in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                stream.truncate(size)
            pieces += [
                (name, target, start, min(start + PIECE_BYTES, size))
                for start in range(0, size, PIECE_BYTES)
            ]
        self._each(self._download_piece, pieces, DOWNLOADS_AT_ONCE)

    def copy(self, names: Mapping[str, str]) -> None:
        """Copy files, given as target by source, without bringing them here.

        Raises
        ------
        LostFile
            If a source is not there.
        """
        self._make_folders(names.values())
        self._each(self._copy_one, names.items(), DOWNLOADS_AT_ONCE)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already count as removed."""
        self._each(self._remove_one, names, DOWNLOADS_AT_ONCE)

    def listing(self, folder: str) -> dict[str, Stored]:
        """Return all files below a folder, by their names relative to it."""
        place = self._path(folder).rstrip("/")
        with plainly(self.root):
            try:
                found = _patiently(lambda: self._system.find(place, detail=True))
            except FileNotFoundError as error:
                if _answer(error) == "NoSuchBucket":
                    raise
                return {}
        return {
            path[len(place) :].lstrip("/"): Stored(int(entry["size"]), _written(entry))
            for path, entry in found.items()
            if path.startswith(f"{place}/")
        }

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _upload_one(self, file: tuple[str, Path]) -> None:
        name, source = file
        options: dict[str, int] = {}
        if self._protocol in ("s3", "s3a"):
            piece = max(PIECE_BYTES, -(-source.stat().st_size // _MOST_PIECES))
            options = {"chunksize": piece, "max_concurrency": _PIECES_OF_AN_UPLOAD}
        try:
            self._system.put_file(str(source), self._path(name), **options)
        except OSError as error:
            if not _says_lost(error):
                raise
            raise LostFile(name) from None

    def _download_piece(self, piece: tuple[str, Path, int, int]) -> None:
        name, target, start, end = piece
        try:
            content = self._system.cat_file(self._path(name), start=start, end=end)
        except OSError as error:
            if not _says_lost(error):
                raise
            raise LostFile(name) from None
        if len(content) != end - start:
            raise LostFile(name)
        with target.open("r+b") as stream:
            stream.seek(start)
            stream.write(content)

    def _copy_one(self, names: tuple[str, str]) -> None:
        source, target = names
        try:
            self._system.cp_file(self._path(source), self._path(target))
        except OSError as error:
            if not _says_lost(error):
                raise
            raise LostFile(source) from None

    def _remove_one(self, name: str) -> None:
        try:
            self._system.rm_file(self._path(name))
        except FileNotFoundError as error:
            if _answer(error) == "NoSuchBucket":
                raise

    def _make_folders(self, names: Iterable[str]) -> None:
        """Make the folders of files where there are such things; a bucket is never made."""
        if self._protocol not in _OBJECT_STORES:
            for folder in {self._path(name).rpartition("/")[0] for name in names}:
                self._system.makedirs(folder, exist_ok=True)

    def _each(self, work: Callable[[_Item], object], items: Iterable[_Item], at_once: int) -> None:
        """Work on items, some at once; the first failure ends it."""

        def one(item: _Item) -> None:
            with plainly(self.root):
                _patiently(lambda: work(item))

        if not getattr(self._system, "async_impl", False):
            for item in items:
                one(item)
            return
        with ThreadPoolExecutor(at_once, "storage") as pool:
            try:
                for done in [pool.submit(one, item) for item in items]:
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _connect(root: str, protocol: str) -> tuple[Any, str]:
    import fsspec

    options = {"use_listings_cache": False} if protocol in _OBJECT_STORES else {}
    system, base = fsspec.core.url_to_fs(root, **options)
    if protocol in ("s3", "s3a"):
        # The client below it asks again already, and so do we: a storage that never answers would
        # hold a step for half an hour.
        system.retries = 1
    return system, str(base)


def _patiently(ask: Callable[[], _Result]) -> _Result:
    """Ask again where an answer broke off; the clients only repeat what failed before it began."""
    for attempt in range(_TRIES - 1):
        try:
            return ask()
        except Exception as error:
            if not is_transient(error):
                raise
            time.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
    return ask()


def _answer(error: BaseException) -> str | None:
    """Return the code of the answer that an error was raised from, if any."""
    response = getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _says_lost(error: OSError) -> bool:
    code = _answer(error)
    return code == "InvalidRange" or (
        isinstance(error, FileNotFoundError) and code != "NoSuchBucket"
    )


def _written(entry: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        value = entry.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
