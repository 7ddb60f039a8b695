"""The sidecar of an artefact: what `artefact.json` may say, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

SIDECAR = "artefact.json"

# A sidecar has a line or three for each file; nothing that large is one.
_LARGEST = 64 * 2**20


class DamagedSidecar(ValueError):
    """A sidecar is not one; the message says why, in a few words."""


class RecordedFile(BaseModel):
    """Size and SHA-256 of a file."""

    model_config = ConfigDict(strict=True, frozen=True)

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


class Sidecar(BaseModel):
    """What a sidecar holds; see `Artefact`."""

    model_config = ConfigDict(strict=True, frozen=True)

    asset: str
    category: str | None
    data_version: str
    files: dict[str, RecordedFile]
    unversioned: list[str] = []
    made_from: dict[str, str] = {}
    provenance: dict[str, str]
    version: Annotated[str, Field(pattern=r"\A[A-Za-z0-9-]{1,100}\z")] | None = None

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, RecordedFile]) -> dict[str, RecordedFile]:
        for name in files:
            if not is_inside(name):
                raise ValueError(f"{name!r} is no file of the folder")
        return files


def is_inside(name: str) -> bool:
    """Tell whether a name is a plain relative path that stays in its folder."""
    path = PurePosixPath(name)
    return (
        str(path) == name
        and not path.is_absolute()
        and ".." not in path.parts
        and name not in (".", SIDECAR)
        and "\0" not in name
    )


def read_sidecar(folder: Path) -> Sidecar:
    """Read and validate the sidecar of a folder.

    Raises
    ------
    DamagedSidecar
        If it is not there, or is not what `write_sidecar` writes.
    """
    file = folder / SIDECAR
    try:
        if file.is_symlink() or not file.is_file():
            raise DamagedSidecar("is missing")
        if file.stat().st_size > _LARGEST:
            raise DamagedSidecar("is far too large")
        return Sidecar.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedSidecar(f"{where}: {first['msg']}" if where else first["msg"]) from None


def write_sidecar(folder: Path, content: Mapping[str, object]) -> None:
    """Write the sidecar of a folder."""
    text = json.dumps(content, indent=2, ensure_ascii=True)
    (folder / SIDECAR).write_text(text + "\n", encoding="utf-8")
