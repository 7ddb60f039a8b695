"""The stage `memory_bank`: the embeddings that represent normality.

With `coreset.shards` each shard is selected by itself: it needs the embeddings of its own images
only, so it may be made in another process, or on another machine.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.coreset.shards import interleaved, picks_of_shard
from patchcore_ops.runtime.arrays import ArrayFile, ArrayWriter, save_array
from patchcore_ops.runtime.devices import coreset_device, device_name
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.runtime.rows import ArrayParts, RowRange, Rows, even_bounds, row_files
from patchcore_ops.stages import layout
from patchcore_ops.stages.raw_embeddings import Grid

# So many features are held at once.
_FEATURES_PER_BLOCK = 65536


@dataclass(frozen=True)
class Bank:
    """The size of one member's memory bank: `picks` of `rows` embeddings of a dimension."""

    rows: int
    picks: int
    dimension: int


@dataclass(frozen=True)
class RowsOfShard:
    """The train embeddings of one member that a shard selects from.

    They are the rows from `start` to `stop` of all; `files` hold them, of which the first begins
    with the row `first` of all.
    """

    member: int
    files: tuple[str, ...]
    first: int
    start: int
    stop: int

    def open(self, embeddings: Path) -> Rows:
        """Open them in a folder of `raw_embeddings` that has these files."""
        parts = [ArrayFile(embeddings / file) for file in self.files]
        rows = ArrayParts(embeddings / self.files[0], parts)
        return RowRange(rows, self.start - self.first, self.stop - self.first)


def select_memory_bank(
    embeddings: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
) -> list[Bank]:
    """Select each member's coreset; write its `features.npy` and `indices.npy`."""
    if config.coreset.shards == 1:
        device = device_name(coreset_device(runtime.device))
        for of_embeddings, target in _members(embeddings, folder, config):
            source = layout.train_embeddings(of_embeddings)
            rows = select_rows(source, config.coreset, device, on_progress)
            _write(target, rows, source, rows)
        return banks(embeddings, folder, config)
    shards = shards_of(embeddings, config)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="shards-") as temporary:
        folders = [Path(temporary, str(number)) for number in range(len(shards))]
        for number, (shard, target) in enumerate(zip(shards, folders, strict=True), start=1):
            select_shard(shard, config, runtime, [embeddings], target)
            if on_progress is not None:
                on_progress(number, len(shards))
        join_shards(folders, config, folder)
    return banks(embeddings, folder, config)


def shards_of(embeddings: Path, config: CategoryConfig) -> list[list[RowsOfShard]]:
    """Return what each shard selects from, by member."""
    by_member = [
        list(_rows_of_member(folder, member, config.coreset.shards))
        for member, folder in enumerate(
            layout.member_folders(embeddings, len(config.embedding.members))
        )
    ]
    return [list(shard) for shard in zip(*by_member, strict=True)]


def _rows_of_member(folder: Path, member: int, shards: int) -> Iterator[RowsOfShard]:
    grid = Grid.read(folder)
    files = row_files(folder / layout.TRAIN_EMBEDDINGS)
    begins = np.cumsum([0, *(len(ArrayFile(file)) for file in files)]).tolist()
    bounds = [image * grid.patches for image in even_bounds(grid.train_images, shards)]
    for start, stop in pairwise(bounds):
        first = bisect_right(begins, start) - 1
        last = bisect_left(begins, stop)
        names = tuple(f"{member}/{file.name}" for file in files[first:last])
        yield RowsOfShard(member, names, begins[first], start, stop)


def select_shard(
    shard: Sequence[RowsOfShard],
    config: CategoryConfig,
    runtime: RuntimeSection,
    reads: Sequence[Path],
    folder: Path,
    _networks: object = None,
) -> None:
    """Select one shard of every member's bank, from the folder of `raw_embeddings`.

    Writes the files that `select_memory_bank` writes: `indices.npy` holds rows of all embeddings.
    """
    device = device_name(coreset_device(runtime.device))
    for of_member in shard:
        source = of_member.open(reads[0])
        wanted = picks_of_shard(of_member.start, of_member.stop, config.coreset)
        rows = select_rows(source, config.coreset, device, wanted=wanted)
        target = layout.member_folder(folder, of_member.member)
        _write(target, rows + of_member.start, source, rows)


def join_shards(shards: Sequence[Path], config: CategoryConfig, folder: Path) -> None:
    """Write the union of shards: they take turns, pick by pick."""
    for member in range(len(config.embedding.members)):
        sources = [layout.member_folder(shard, member) for shard in shards]
        indices = [np.load(source / layout.INDICES, allow_pickle=False) for source in sources]
        order = interleaved([len(picks) for picks in indices])
        features = [ArrayFile(source / layout.FEATURES) for source in sources]
        target = layout.member_folder(folder, member)
        rows = ArrayParts(target / layout.FEATURES, features)
        _write(target, np.concatenate(indices)[order], rows, order)


def banks(embeddings: Path, folder: Path, config: CategoryConfig) -> list[Bank]:
    """Return the sizes of the members' banks."""
    return [
        Bank(len(layout.train_embeddings(source)), *ArrayFile(bank / layout.FEATURES).shape)
        for source, bank in _members(embeddings, folder, config)
    ]


def _members(embeddings: Path, folder: Path, config: CategoryConfig) -> Iterator[tuple[Path, Path]]:
    sources = layout.member_folders(embeddings, len(config.embedding.members))
    for member, source in enumerate(sources):
        yield source, layout.member_folder(folder, member)


def _write(
    folder: Path, indices: npt.NDArray[np.int64], source: Rows, rows: npt.NDArray[np.int64]
) -> None:
    """Write a member's picks, and their features: these rows of a source."""
    folder.mkdir(parents=True, exist_ok=True)
    save_array(folder / layout.INDICES, indices)
    with ArrayWriter(folder / layout.FEATURES, (len(rows), *source.shape[1:])) as writer:
        for start in range(0, len(rows), _FEATURES_PER_BLOCK):
            writer.append(source.take(rows[start : start + _FEATURES_PER_BLOCK]))
