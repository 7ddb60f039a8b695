"""The stage `memory_bank`: which embeddings represent normality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.runtime.arrays import ArrayFile, save_array
from patchcore_ops.runtime.devices import coreset_device, device_name
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages.layout import (
    FEATURES,
    INDICES,
    TRAIN_EMBEDDINGS,
    member_folder,
    member_folders,
)


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
    """Select the memory bank of every ensemble member.

    Parameters
    ----------
    embeddings : Path
        Folder of the stage `raw_embeddings`.
    config : CategoryConfig
        The coreset section, and the number of members.
    runtime : RuntimeSection
        The device.
    folder : Path
        Receives `<member>/features.npy` and `<member>/indices.npy`.
    on_progress : callable, optional
        Called with (picks so far, picks wanted) of the current member.

    Returns
    -------
    list of Bank
        One per member.
    """
    device = device_name(coreset_device(runtime.device))
    banks = []
    for member, source_folder in enumerate(
        member_folders(embeddings, len(config.embedding.members))
    ):
        source = ArrayFile(source_folder / TRAIN_EMBEDDINGS)
        rows = select_rows(source, config.coreset, device, on_progress)
        target = member_folder(folder, member)
        target.mkdir(parents=True, exist_ok=True)
        save_array(target / FEATURES, source.take(rows))
        save_array(target / INDICES, rows)
        banks.append(Bank(rows=len(source), picks=len(rows), dimension=source.shape[1]))
    return banks
