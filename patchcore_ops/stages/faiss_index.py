"""The stage `faiss_index`: the memory bank, ready for search."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.scoring.neighbours import build_index, write_index
from patchcore_ops.stages.layout import FEATURES, INDEX, member_folder, member_folders


def index_memory_bank(bank: Path, config: CategoryConfig, folder: Path) -> list[int]:
    """Build the FAISS index of every ensemble member.

    Parameters
    ----------
    bank : Path
        Folder of the stage `memory_bank`.
    config : CategoryConfig
        The index section, and the number of members.
    folder : Path
        Receives `<member>/index.faiss`.

    Returns
    -------
    list of int
        Bytes of each member's index.
    """
    sizes = []
    for member, source in enumerate(member_folders(bank, len(config.embedding.members))):
        features = np.load(source / FEATURES, allow_pickle=False)
        path = member_folder(folder, member) / INDEX
        write_index(build_index(features, config.index.factory), path)
        sizes.append(path.stat().st_size)
    return sizes
