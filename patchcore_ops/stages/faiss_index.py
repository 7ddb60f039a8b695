"""The stage `faiss_index`: the memory bank, ready for search."""

from __future__ import annotations

from pathlib import Path

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.scoring.index_building import write_index_over
from patchcore_ops.stages.layout import FEATURES, INDEX, member_folder, member_folders


def index_memory_bank(bank: Path, config: CategoryConfig, folder: Path) -> None:
    """Write each member's `index.faiss` over its features."""
    for member, source in enumerate(member_folders(bank, len(config.embedding.members))):
        path = member_folder(folder, member) / INDEX
        write_index_over(ArrayFile(source / FEATURES), config.index.factory, path)
