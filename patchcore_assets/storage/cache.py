"""A bounded local folder of files from a remote storage, found by their content.

    <folder>/files/<first two digits>/<SHA-256>     what was read or written lately, read-only
    <folder>/steps/<id>, <id>.lock                  what one step of a living process works with

Whoever uses a file has a hard link to it in a work folder of its own. So the cache may forget a
file at any time: only its own link goes, and the content stays until its last user has finished.
Files come in by a link too, when they are whole and their checksum is right. The limit is what
stays between steps, not what one step needs at a time; a file larger than the limit is used and
then forgotten. Any number of processes may share the folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchcore_assets.storage.hashed import HashedFiles
from patchcore_assets.storage.locks import lock_of, locked
from patchcore_assets.storage.refusals import StorageRefused
from patchcore_ops.runtime.fingerprints import HashOf, file_hash

DEFAULT_BYTES = 10 * 10**9
_NAME = "patchcore-assets"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP})
_LITTLE_ROOM = 100 * 10**6


class FileCache:
    """A cache of files in a folder of this machine.

    Parameters
    ----------
    folder : Path, optional
        Default: `patchcore-assets` in XDG_CACHE_HOME or ~/.cache, or, where that cannot be written,
        a folder of this user's in the system's folder for temporary files.
    limit : int, optional
        Bytes that may stay between steps.
    hashes : HashedFiles, optional
        What the process has hashed already; share it among the caches of a process.

    Raises
    ------
    StorageRefused
        If the folder cannot be made, or somebody else's stands in its place.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limit: int | None = None,
        hashes: HashedFiles | None = None,
    ) -> None:
        self.folder = _made(folder) if folder else _default_folder()
        self.limit = DEFAULT_BYTES if limit is None else limit
        self._files = self.folder / "files"
        self._work = self.folder / "steps"
        self._hashes = HashedFiles() if hashes is None else hashes
        for place in (self._files, self._work):
            with _room_needed(self.folder):
                place.mkdir(mode=0o700, exist_ok=True)

    @property
    def hash_of(self) -> HashOf:
        """Gives a file's SHA-256, of the cache's own files without reading them again."""
        return self._hashes

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """Make an empty folder to work in; on leaving it goes, and the limit is kept again.

        Raises
        ------
        StorageRefused
            If there is no room left in it.
        """
        self._remove_abandoned()
        folder = self._work / uuid.uuid4().hex[:12]
        lock = lock_of(folder)
        try:
            with _room_needed(self.folder), locked(lock, create=True):
                folder.mkdir()
                try:
                    yield folder
                finally:
                    _remove(folder)
        finally:
            self.trim()

    def take(self, digest: str, size: int, target: Path) -> bool:
        """Put the file of this content at a path of a work folder, if it is here.

        A file that has been changed behind the cache's back is thrown away.
        """
        entry = self._entry(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _link(entry, target)
        except FileNotFoundError:
            return False
        if self._is_intact(target, size, digest):
            self._mark_used(entry)
            return True
        target.unlink()
        self.forget(digest)
        return False

    def add(self, file: Path, digest: str) -> None:
        """Keep a whole file of a work folder; its checksum has been compared already."""
        entry = self._entry(digest)
        entry.parent.mkdir(exist_ok=True)
        file.chmod(0o444)
        self._hashes.keep(file, digest)
        with suppress(FileExistsError):
            _link(file, entry)
        self._mark_used(entry)

    def forget(self, digest: str) -> None:
        """Remove the file of this content, if it is here."""
        self._entry(digest).unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove files larger than the limit, then the least recently used, until it is kept."""
        kept = []
        for entry in self._files.glob("*/*"):
            with suppress(FileNotFoundError):
                status = entry.stat()
                if status.st_size > self.limit:
                    entry.unlink()
                else:
                    kept.append((status.st_atime_ns, status.st_size, entry))
        total = sum(size for _, size, _ in kept)
        for _, size, entry in sorted(kept):
            if total <= self.limit:
                return
            entry.unlink(missing_ok=True)
            total -= size

    def _entry(self, digest: str) -> Path:
        return self._files / digest[:2] / digest

    def _mark_used(self, entry: Path) -> None:
        # The time of access, set by hand: whether reading sets it depends on how a disk is mounted.
        with suppress(OSError):
            os.utime(entry, ns=(time.time_ns(), entry.stat().st_mtime_ns))

    def _remove_abandoned(self) -> None:
        """Remove the work folders of processes that were killed."""
        for lock in self._work.glob("*.lock"):
            with (
                suppress(BlockingIOError, FileNotFoundError),
                locked(lock, wait=False, create=False),
            ):
                _remove(lock.with_suffix(""))

    def _is_intact(self, file: Path, size: int, digest: str) -> bool:
        """Compare a file with its checksum, in each process once."""
        if self._hashes.is_kept(file, digest):
            return True
        is_intact = file.stat().st_size == size and file_hash(file) == digest
        if is_intact:
            self._hashes.keep(file, digest)
        return is_intact


def _remove(folder: Path) -> None:
    """Remove a work folder, and then its lock: while it has one, it will be tried again."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lock_of(folder).unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where the disk cannot do that, a whole copy has it at once."""
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        whole = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            shutil.copyfile(source, whole)
            whole.replace(target)
        finally:
            whole.unlink(missing_ok=True)


@contextmanager
def _room_needed(folder: Path) -> Iterator[None]:
    """Say in one sentence that there is no room left in a folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # Libraries in C++ have the reason in their message only.
        is_full = getattr(error, "errno", None) in _NO_ROOM or any(
            os.strerror(number) in str(error) for number in _NO_ROOM
        )
        place = getattr(error, "filename", None)
        if getattr(error, "errno", None) in _NO_LOCKS:
            raise StorageRefused(
                f"{folder}: the file system has no locks; set storage.cache to a folder on a disk "
                "of this machine"
            ) from error
        is_here = (
            Path(place).is_relative_to(folder)
            if isinstance(place, str)
            else shutil.disk_usage(folder).free < _LITTLE_ROOM
        )
        if not is_full or not is_here:
            raise
        raise StorageRefused(
            f"{folder}: no room left ({shutil.disk_usage(folder).free / 1e6:,.0f} MB free); make "
            "room there or set storage.cache to a folder on a larger disk, then run again"
        ) from error


def _default_folder() -> Path:
    own = os.environ.get("XDG_CACHE_HOME")
    with suppress(StorageRefused, RuntimeError):
        return _made((Path(own) if own else Path.home() / ".cache") / _NAME)
    return _made(Path(tempfile.gettempdir()) / f"{_NAME}-{_user()}", own=True)


def _user() -> int:
    """Return the user's number, 0 on Windows, which says the same of every file's owner."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _made(folder: Path, *, own: bool = False) -> Path:
    """Make a folder that nobody else can read; `own` refuses one that somebody else has made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise StorageRefused(
            f"{folder} cannot be made ({error.strerror}); name another folder in storage.cache"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK) or (own and status.st_uid != _user()):
        raise StorageRefused(
            f"{folder} belongs to somebody else, or cannot be written; name another folder in "
            "storage.cache"
        )
    return folder
