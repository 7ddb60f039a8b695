"""The one small object that says which version of an artefact is the current one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from patchcore_assets.storage.sidecar import Sidecar


class DamagedPointer(ValueError):
    """An object is not a pointer; the message says why, in a few words."""


class _Named(Sidecar):
    version: Annotated[str, Field(pattern=r"\A[A-Za-z0-9-]{1,100}\z")] | None = None


@dataclass(frozen=True)
class Pointer:
    """A sidecar, with the name of the version folder in which the files lie.

    Attributes
    ----------
    content : bytes
        The object as it is stored: two pointers with the same content are one.
    version : str or None
        None where an earlier release has written the files beside the sidecar.
    sizes : mapping of str to int
        Bytes of each file.
    """

    content: bytes
    version: str | None
    sizes: Mapping[str, int]

    @staticmethod
    def to(version: str, sidecar: bytes) -> Pointer:
        """Make the pointer to a version from the sidecar of its files."""
        named = {**json.loads(sidecar), "version": version}
        return Pointer.parse((json.dumps(named, indent=2) + "\n").encode())

    @staticmethod
    def parse(content: bytes) -> Pointer:
        """Read a pointer.

        Raises
        ------
        DamagedPointer
            If it is not one, or names a file outside of its folder.
        """
        try:
            parsed = _Named.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DamagedPointer(f"{where}: {first['msg']}" if where else first["msg"]) from None
        sizes = {name: file.bytes for name, file in parsed.files.items()}
        return Pointer(content, parsed.version, sizes)
