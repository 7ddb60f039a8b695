"""The stage `memory_bank`: the embeddings that represent normality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.runtime.arrays import save_array
from patchcore_ops.runtime.devices import coreset_device, device_name
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages import layout


@dataclass(frozen=True)
class Bank:
    """The size of one member's memory bank: `picks` of `rows` embeddings of a dimension."""

    rows: int
    picks: int
    dimension: int


def select_memory_bank(
    embeddings: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
) -> list[Bank]:
    """Select each member's coreset; write its `features.npy` and `indices.npy`."""
    device = device_name(coreset_device(runtime.device))
    banks = []
    folders = layout.member_folders(embeddings, len(config.embedding.members))
    for member, of_embeddings in enumerate(folders):
        source = layout.train_embeddings(of_embeddings)
        rows = select_rows(source, config.coreset, device, on_progress)
        target = layout.member_folder(folder, member)
        target.mkdir(parents=True, exist_ok=True)
        save_array(target / layout.FEATURES, source.take(rows))
        save_array(target / layout.INDICES, rows)
        banks.append(Bank(rows=len(source), picks=len(rows), dimension=source.shape[1]))
    return banks
