"""The files of a model that the reference saved: one pair for each member of its ensemble."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from patchcore_ops.model.description import ModelError

SAVE_AGAIN: Final = (
    "copy it again, or save the model again with the reference's --save_patchcore_model"
)
_PARAMETERS = "patchcore_params.pkl"
_INDEX = "nnscorer_search_index.faiss"
_MEMBER = re.compile(rf"(?:Ensemble-([0-9]{{1,3}})-([0-9]{{1,3}})_)?({_PARAMETERS}|{_INDEX})")
_POINTER = b"version https://git-lfs"


class SavedMember(NamedTuple):
    """The two files of a member."""

    parameters: Path
    bank: Path


def saved_members(source: Path) -> list[SavedMember]:
    """Find the members of a saved model, in their order.

    Raises ModelError if the folder holds no saved model, more than one, or a part of one.
    """
    try:
        matches = [_MEMBER.fullmatch(file.name) for file in source.iterdir()]
    except OSError as error:
        raise ModelError(
            f"{source}: cannot be read ({error.strerror or error}); name the folder of one "
            "category below the reference's `models`"
        ) from None
    found = [match for match in matches if match is not None]
    if not found:
        raise ModelError(
            f"{source}: holds no {_PARAMETERS}; name the folder of one category below the "
            "reference's `models`, such as models/mvtec_bottle"
        )
    counts = {int(match[2] or 0) for match in found}
    if len(counts) > 1:
        raise ModelError(
            f"{source}: holds models of different numbers of members; put each into a folder of "
            "its own"
        )
    (count,) = counts
    prefixes = [f"Ensemble-{at}-{count}_" for at in range(1, count + 1)] or [""]
    members = [
        SavedMember(source / f"{prefix}{_PARAMETERS}", source / f"{prefix}{_INDEX}")
        for prefix in prefixes
    ]
    names = {file.name for member in members for file in member}
    if missing := sorted(names - {match[0] for match in found}):
        raise ModelError(f"{source}: lacks {', '.join(missing)}; copy the whole folder")
    if foreign := sorted({match[0] for match in found} - names):
        raise ModelError(f"{source}: {', '.join(foreign)} belong to no ensemble; take them away")
    return members


def refuse_pointer(file: Path, beginning: bytes) -> None:
    """Refuse a file of a clone whose content Git LFS has not fetched."""
    if beginning.startswith(_POINTER):
        raise ModelError(
            f"{file}: is a Git LFS pointer and not the file itself; run in its folder: git lfs pull"
        )
