"""Exported networks in a folder of this machine, for who works without a storage."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from patchcore_ops.embedding.exported_network import NetworkSettings
from patchcore_ops.runtime.files import user_cache


def user_networks() -> Path:
    """Return the folder of the user's own cache that keeps exported networks."""
    return user_cache() / "patchcore" / "networks"


class NetworkFolder:
    """Keeps exported networks below a folder, each by its identity.

    One is made beside its place and renamed, so that another process never sees a part of it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """See `NetworkStore.opened`."""
        folder = self._root / settings.identity
        if not folder.is_dir():
            self._root.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{settings.identity}-", dir=self._root))
            try:
                make(aside)
                try:
                    aside.rename(folder)
                except OSError:
                    # Another process was quicker.
                    if not folder.is_dir():
                        raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        yield folder

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        """See `NetworkStore.kept`."""
        folder = self._root / identity
        yield folder if folder.is_dir() else None
