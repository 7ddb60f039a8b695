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

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from patchcore_assets.storage.hashed import HashedFiles
from patchcore_assets.storage.local.problems import storage_problems
from patchcore_assets.storage.locks import lock_of, locked
from patchcore_assets.storage.remote.errors import StorageRefused
from patchcore_ops.runtime.fingerprints import HashOf, file_hash

DEFAULT_BYTES = 10 * 10**9
_NAME = "patchcore-assets"


class FileCache:
    """A cache of files in a folder of this machine.

    Parameters
    ----------
    folder : Path, optional
        Default: `patchcore-assets` in XDG_CACHE_HOME or ~/.cache.
    limit : int, optional
        Bytes that may stay between steps.
    hashes : HashedFiles, optional
        What the process has hashed already; share it among the caches of a process.

    Raises
    ------
    StorageRefused
        If the folder cannot be made, or is not this user's to write.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limit: int | None = None,
        hashes: HashedFiles | None = None,
    ) -> None:
        self.folder = _made(folder or _default_folder())
        self.limit = DEFAULT_BYTES if limit is None else limit
        self._files = self.folder / "files"
        self._work = self.folder / "steps"
        self._hashes = HashedFiles() if hashes is None else hashes
        with self._problems():
            for place in (self._files, self._work):
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
        StorageProblem
            If there is no room left in it.
        """
        self._remove_abandoned()
        folder = self._work / uuid.uuid4().hex[:12]
        lock = lock_of(folder)
        try:
            with self._problems(), locked(lock, fcntl.LOCK_EX, create=True):
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
        for damaged in (target, entry):
            damaged.unlink(missing_ok=True)
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
                locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, create=False),
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

    def _problems(self) -> AbstractContextManager[None]:
        return storage_problems(self.folder, "what a step works with", "storage.cache")


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
        shutil.copyfile(source, whole)
        whole.replace(target)


def _default_folder() -> Path:
    own = os.environ.get("XDG_CACHE_HOME")
    return Path(own or os.path.expanduser("~/.cache"), _NAME)  # noqa: PTH111 - without a home, "~"


def _made(folder: Path) -> Path:
    """Make a folder that nobody else can read; one that is there keeps its rights."""
    reason = "it belongs to somebody else, or is on a read-only disk"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    if os.access(folder, os.W_OK | os.X_OK):
        return folder
    raise StorageRefused(
        f"{folder}: cannot be written ({reason}); name another folder in storage.cache"
    )
