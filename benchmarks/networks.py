"""The networks of a workload: as the torch engine has them, and exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchcore_ops.embedding.exported_network import NetworkSettings


class NetworksInFolder:
    """Keeps exported networks for one benchmark after the other; see `NetworkStore`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """Open a network's folder, which is made first where there is none."""
        folder = self._root / settings.identity
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
        yield folder

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        """Open a network's folder; None if it is not kept."""
        folder = self._root / identity
        yield folder if folder.exists() else None
