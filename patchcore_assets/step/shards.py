"""Shards of an artefact: parts of it that are made, and kept, each by itself.

A shard is kept in the store under a name that holds all that determines it. So a run that goes on
where another was killed makes only what is missing, and any machine that reaches the store can make
one. When the artefact is there, its shards are removed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from patchcore_assets.step.networks import KeptNetworks
from patchcore_assets.storage import ArtefactStore, DamagedArtefact, MissingArtefact, command
from patchcore_assets.storage.artefact import of
from patchcore_ops.embedding.exported_network import NetworkStore
from patchcore_ops.runtime.errors import StaleArtefact
from patchcore_ops.stages.provenance import host

_SUFFIX = "_shards"


# Opens the store in another process; picklable.
OpenStore = Callable[[], ArtefactStore]
# Makes a shard: given the folders that it reads, the folder for its files, and exported networks.
MakeShard = Callable[[Sequence[Path], Path, NetworkStore], None]


class ShardRead(NamedTuple):
    """An artefact that a shard reads: its data version, and the files that are needed, or None."""

    asset: str
    data_version: str
    only: Collection[str] | None


@dataclass(frozen=True)
class ShardTask:
    """One shard: its place in the store, what it reads, and the function that makes its files.

    `reads` are artefacts of `category`. `make` must be picklable, for it may be called on another
    machine.
    """

    asset: str
    name: str
    category: str
    reads: tuple[ShardRead, ...]
    make: MakeShard


def shard_name(category: str, determined_by: Sequence[str]) -> str:
    """Return the name of a shard: the category's hash, then that of all that determines it."""
    parts = (category, "\0".join((category, *determined_by)))
    return "-".join(hashlib.sha256(part.encode()).hexdigest()[:16] for part in parts)


def make_shard(task: ShardTask, store: ArtefactStore, log: logging.Logger) -> None:
    """Make a shard and keep it.

    Raises
    ------
    StaleArtefact
        If what it reads has another version by now: its name stands for the one before.
    """
    with ExitStack() as stack:
        folders = []
        for asset, version, only in task.reads:
            artefact = stack.enter_context(store.open(asset, task.category, only))
            if artefact.data_version != version:
                made = task.asset.removesuffix(_SUFFIX)
                raise StaleArtefact(
                    f"{asset}{of(task.category)} was made again while {made} was made of it; "
                    f"materialise {made} again: {command(made, task.category)}"
                )
            folders.append(artefact.folder)
        staging = stack.enter_context(store.stage(task.asset, task.name))
        task.make(folders, staging.folder, KeptNetworks(store, log))
        staging.commit({"category": task.category, "host": host()})


class Shards:
    """The shards of one artefact of a category."""

    def __init__(
        self,
        asset: str,
        category: str,
        open_store: OpenStore,
        store: ArtefactStore,
        log: logging.Logger,
    ) -> None:
        self.asset = asset + _SUFFIX
        self._category = category
        self._open_store = open_store
        self._store = store
        self._log = log

    def task(
        self,
        determined_by: Sequence[str],
        make: MakeShard,
        reads: Iterable[ShardRead],
    ) -> ShardTask:
        """Describe a shard; see `ShardTask`."""
        name = shard_name(self._category, determined_by)
        return ShardTask(self.asset, name, self._category, tuple(reads), make)

    @contextmanager
    def made(self, tasks: Sequence[ShardTask], on_cluster: bool) -> Iterator[list[Path]]:
        """Open the folders of shards, in order; those that are not kept are made first.

        On leaving without an error, all shards of the category are removed.
        """
        kept = set(self._store.categories(self.asset))
        wanted = [task for task in tasks if task.name not in kept]
        if len(wanted) < len(tasks):
            self._log.info(f"{len(tasks) - len(wanted)} of {len(tasks)} shards were made before")
        if on_cluster and len(wanted) > 1:
            from patchcore_assets.step.ray_shards import make_on_cluster

            make_on_cluster(wanted, self._open_store, self._store, self._log)
        else:
            for done, task in enumerate(wanted, start=len(tasks) - len(wanted) + 1):
                make_shard(task, self._store, self._log)
                self._log.info(f"{done} of {len(tasks)} shards are made")
        with ExitStack() as reading:
            yield [self._opened(task, reading) for task in tasks]
        self.remove()

    def remove(self) -> None:
        """Remove all shards of the category."""
        prefix = shard_name(self._category, ()).partition("-")[0]
        for name in self._store.categories(self.asset):
            if name.startswith(prefix):
                self._store.remove(self.asset, name)

    def _opened(self, task: ShardTask, reading: ExitStack) -> Path:
        try:
            return reading.enter_context(self._store.open(task.asset, task.name)).folder
        except (MissingArtefact, DamagedArtefact) as trouble:
            self._log.warning(f"{str(trouble).partition(';')[0]}; the shard is made again")
            make_shard(task, self._store, self._log)
            return reading.enter_context(self._store.open(task.asset, task.name)).folder
