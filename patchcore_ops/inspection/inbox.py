"""Where new images arrive: a folder, or a URL that fsspec understands, of categories.

Files are only read, never moved or changed. Names that begin with a dot are left alone: programs
that copy files write to such names first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeAlias

from patchcore_ops.config.addresses import is_url
from patchcore_ops.config.remote_file import is_final
from patchcore_ops.dataset.image_formats import printable
from patchcore_ops.inspection.arrivals import Arrival, is_image
from patchcore_ops.runtime.errors import UserError

# So much is on the local disk at a time.
BATCH_IMAGES = 64
BATCH_BYTES = 2**30
_DOWNLOADS = 8
_NO_BUCKET = "NoSuchBucket"
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class InboxProblem(UserError):
    """An inbox cannot be read, and will not without a change."""


class InboxOutOfReach(ConnectionError):
    """An inbox does not answer; it may later."""


class LocalInbox:
    """An inbox in a folder of this machine.

    Methods raise `InboxProblem` where the folder cannot be read.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def categories(self) -> list[str]:
        """Return the names of its folders, sorted."""
        try:
            entries = list(self._root.iterdir())
        except OSError as error:
            self._refuse(error)
        return sorted(one.name for one in entries if one.is_dir() and not one.name.startswith("."))

    def arrivals(self, category: str) -> list[Arrival]:
        """Return the image files of a category, those in folders of it too; sorted by path.

        Links are not followed. Without a folder, nothing has come to the category.
        """
        return sorted(self._files(self._root / category))

    def _files(self, top: Path) -> Iterator[Arrival]:
        for folder, folders, names in os.walk(top, onerror=self._pass_over):
            folders[:] = [one for one in folders if not one.startswith(".")]
            for name in names:
                file = os.path.join(folder, name)  # noqa: PTH118 - a tick may list 100,000 files
                inside = os.path.relpath(file, top)
                if not is_image(inside):
                    continue
                try:
                    found = os.lstat(file)
                except OSError:
                    continue  # It has gone since.
                if stat.S_ISREG(found.st_mode):
                    changed = max(found.st_mtime, found.st_ctime)
                    yield Arrival(
                        printable(inside), file, found.st_size, found.st_mtime_ns, changed
                    )

    def _pass_over(self, error: OSError) -> None:
        """Leave out a folder that is not there, or has gone since it was listed, as files are."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self._refuse(error)
        # The inbox itself must be there.
        self.categories()

    def _refuse(self, error: OSError) -> NoReturn:
        raise InboxProblem(
            f"{error.filename or self._root}: cannot be read ({error.strerror or error}); make it "
            "readable, or correct inbox.root"
        ) from None

    def batches(self, arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
        """Divide files into as many as are on the local disk at a time: all of them."""
        if arrivals:
            yield arrivals

    @contextmanager
    def brought(self, arrivals: Sequence[Arrival]) -> Iterator[list[Path]]:
        """Yield a local file of each: the files themselves; one may be gone by now."""
        yield [Path(arrival.place) for arrival in arrivals]

    def is_as_listed(self, arrival: Arrival, file: Path) -> bool:
        """Tell whether a file has the size and the time that were listed."""
        try:
            found = file.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (arrival.bytes, arrival.modified_ns)


class RemoteInbox:
    """An inbox at a URL, with the methods of `LocalInbox`.

    Files come to a temporary folder, a batch at a time. Methods raise `InboxOutOfReach` too.
    """

    def __init__(self, root: str) -> None:
        import fsspec

        self._root = root
        options: dict[str, Any] = {"use_listings_cache": False} if root.startswith("s3") else {}
        try:
            self._system, base = fsspec.core.url_to_fs(root, **options)
        except (ImportError, ValueError):
            raise InboxProblem(
                f"{root}: nothing here speaks its protocol; install its fsspec client, for S3 by "
                'pip install "s3fs>=2024.12", or correct inbox.root'
            ) from None
        self._base = base.rstrip("/")

    def categories(self) -> list[str]:
        """Return the names of its folders, sorted."""
        with self._plainly():
            found = self._listing(lambda: self._system.ls(self._base, detail=True))
        names = [str(one["name"]) for one in found if one["type"] == "directory"]
        return sorted(
            name for path in names if (name := path.rstrip("/").rpartition("/")[2])[:1] != "."
        )

    def arrivals(self, category: str) -> list[Arrival]:
        """Return the image files of a category, by one listing."""
        place = f"{self._base}/{category}/"
        with self._plainly():
            found = self._listing(lambda: self._system.find(place, detail=True).values())
        arrivals = []
        for one in found:
            path = str(one["name"])
            if path.startswith(place) and is_image(inside := path.removeprefix(place)):
                written = self._written(one)
                arrivals.append(
                    Arrival(
                        printable(inside), path, int(one["size"]), round(written * 1e9), written
                    )
                )
        return sorted(arrivals)

    def batches(self, arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
        """Divide files into batches of `BATCH_IMAGES` and `BATCH_BYTES` at most, or of one."""
        batch: list[Arrival] = []
        for arrival in arrivals:
            size = sum(one.bytes for one in batch) + arrival.bytes
            if batch and (len(batch) == BATCH_IMAGES or size > BATCH_BYTES):
                yield batch
                batch = []
            batch.append(arrival)
        if batch:
            yield batch

    @contextmanager
    def brought(self, arrivals: Sequence[Arrival]) -> Iterator[list[Path]]:
        """Yield a copy of each in a temporary folder."""
        with TemporaryDirectory(prefix="inbox-") as folder:
            files = [Path(folder, str(number)) for number in range(len(arrivals))]
            with ThreadPoolExecutor(_DOWNLOADS) as executor, self._plainly():
                list(executor.map(self._download, arrivals, files))
            yield files

    def is_as_listed(self, arrival: Arrival, file: Path) -> bool:
        """Tell whether a copy has the size that was listed: a store has whole objects only."""
        return file.is_file() and file.stat().st_size == arrival.bytes

    def _download(self, arrival: Arrival, file: Path) -> None:
        with suppress(FileNotFoundError):
            self._system.get_file(arrival.place, str(file))

    def _listing(self, ask: Callable[[], Iterable[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
        try:
            return list(ask())
        except FileNotFoundError as error:
            # A bucket without the folder is an inbox that nothing has come to; no bucket is none.
            if type(error.__cause__).__name__ == _NO_BUCKET:
                raise InboxProblem(
                    f"{self._root}: there is no such bucket; correct inbox.root, or region and "
                    "endpoint"
                ) from None
            return []

    def _written(self, entry: Mapping[str, Any]) -> float:
        for name in _TIMES:
            value = entry.get(name)
            if isinstance(value, datetime):
                return value.timestamp()
            if isinstance(value, int | float):
                return float(value)
        raise InboxProblem(
            f"{self._root}: its storage does not say when files were written, so they have no day; "
            "use a storage that does in inbox.root"
        )

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn errors of the storage's client into sentences in which no credential can stand."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            said = type(error).__name__
            if is_final(error):
                raise InboxProblem(
                    f"{self._root}: cannot be read ({said}); see that the credentials in use may "
                    "list and read it, and that region and endpoint are right"
                ) from None
            raise InboxOutOfReach(
                f"{self._root}: cannot be read ({said}); see that it can be reached from here"
            ) from None


Inbox: TypeAlias = LocalInbox | RemoteInbox


def open_inbox(root: str) -> Inbox:
    """Open the inbox at a folder or at a URL."""
    return RemoteInbox(root) if is_url(root) else LocalInbox(root)
