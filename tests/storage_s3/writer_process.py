"""What the tests of the S3 storage run in processes of their own."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import s3fs
from store_kit import put

from patchcore_assets.storage.remote.cache import ArtefactCache
from patchcore_assets.storage.remote.store import RemoteStore

CHANGES = {"put_object", "delete_object", "delete_objects"}


def die_at_change(
    root: str,
    cache: Path,
    environment: Mapping[str, str],
    files: Mapping[str, bytes],
    category: str,
    number: int,
) -> None:
    """Commit a version, but be killed just before the change of this number (from 0)."""
    os.environ.update(environment)
    changes = itertools.count()
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if method in CHANGES and next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return await call(self, method, *arguments, **options)

    s3fs.S3FileSystem._call_s3 = counted
    put(RemoteStore(root, ArtefactCache(cache)), files, category=category)


def commit_often(
    root: str, cache: Path, environment: Mapping[str, str], writer: str, rounds: int
) -> None:
    """Commit versions, each with one word in all its files and with a file of its own.

    The cache keeps nothing, so that writers who share it remove what the others have there.
    """
    os.environ.update(environment)
    store = RemoteStore(root, ArtefactCache(cache, limit=0))
    for number in range(rounds):
        word = f"{writer}-{number}".encode()
        put(store, {"a.txt": word, "0/b.txt": word, f"only-{writer}.txt": word})
