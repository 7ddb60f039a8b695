"""A model's folder: `model.json`, and for each member its network and its index.

    model.json
    <member>/network.xml, network.bin, network.json    the exported network
    <member>/index.faiss                               the memory bank, ready for search
    sample.png                                         an image whose score model.json knows

A member that torch runs has `weights.safetensors` in the place of its network.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from patchcore_ops.model.description import (
    FORMAT,
    FileRecord,
    ModelDescription,
    ModelDraft,
    ModelError,
)
from patchcore_ops.runtime.fingerprints import file_hash

MODEL = "model.json"
INDEX = "index.faiss"
SAMPLE = "sample"
WEIGHTS = "weights.safetensors"
_CHECKSUM = "sha256"
_UNKNOWN = 64 * "0"
_AGAIN = "copy the model again, or make it again"


def write_model(folder: Path, draft: ModelDraft) -> ModelDescription:
    """Write `model.json` for the files in a folder: all those of the model, and nothing else."""
    files = {
        file.relative_to(folder).as_posix(): FileRecord(
            bytes=file.stat().st_size, sha256=file_hash(file)
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MODEL
    }
    description = ModelDescription(**dict(draft), files=files)
    content = {"format": FORMAT, **description.model_dump(mode="json")}
    text, checksum = with_checksum(content)
    (folder / MODEL).write_text(text, encoding="utf-8")
    return description.model_copy(update={_CHECKSUM: checksum})


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Give a folder to write a model into; it takes the place of `output` when all is written.

    Raises ModelError if `output` holds something, or cannot be written.
    """
    output = output.resolve()
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ModelError(f"{output}: holds something already; name an empty or a new folder")
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise ModelError(f"{output}: cannot be written ({error.strerror or error})") from None
    try:
        folder = aside / output.name
        folder.mkdir()
        yield folder
        folder.replace(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_model(folder: Path, verify: bool = True) -> ModelDescription:
    """Read `model.json`, and compare the files of the model with it.

    Parameters
    ----------
    folder : Path
        A model.
    verify : bool
        Whether all files are hashed; otherwise only `model.json` is looked at.

    Returns
    -------
    ModelDescription

    Raises
    ------
    ModelError
        If there is no model, a newer release wrote it, or a file is missing or differs. Every such
        file is named.
    """
    file = folder / MODEL
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
        checksum, number = str(content[_CHECKSUM]), content["format"]
    except FileNotFoundError:
        remedy = "copy one there, or name that of one category, such as storage/model/bottle"
        if str(folder).partition("/")[0].endswith(":"):
            remedy = "copy the model of a bucket into a folder of this machine first"
        raise ModelError(f"{folder}: is no model, for it has no {MODEL}; {remedy}") from None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{file}: is not what was written; {_AGAIN}") from None
    if isinstance(number, int) and number > FORMAT:
        raise ModelError(
            f"{file}: is of format {number}, and this release reads up to {FORMAT}; install the "
            "release of patchcore-assets that wrote it, or a later one"
        )
    if isinstance(number, int) and number < FORMAT:
        raise ModelError(f"{file}: was written by an earlier release; make the model again")
    hashed = _replaced(text, checksum or _UNKNOWN, _UNKNOWN).encode()
    if checksum != hashlib.sha256(hashed).hexdigest():
        raise ModelError(f"{file}: is not what was written; {_AGAIN}")
    try:
        description = ModelDescription.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        # The checksum has shown that this is what was written.
        raise ModelError(
            f"{file}: its '{where}' cannot be used, for another release wrote it; make the model "
            "again, or install the release of patchcore-assets that wrote it"
        ) from None
    if verify and (faults := _faults(folder, description.files)):
        raise ModelError("\n".join(f"{fault}; {_AGAIN}" for fault in faults))
    return description


def with_checksum(content: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of `model.json`, and the checksum at its end.

    It is the SHA-256 of the text with zeros in its place: digits beyond a number's precision count.
    """
    text = json.dumps({**content, _CHECKSUM: _UNKNOWN}, indent=2, ensure_ascii=False) + "\n"
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return _replaced(text, _UNKNOWN, checksum), checksum


def _replaced(text: str, before: str, after: str) -> str:
    start, _, end = text.rpartition(before)
    return start + after + end


def _faults(folder: Path, files: Mapping[str, FileRecord]) -> list[str]:
    faults = []
    for name, record in files.items():
        file = folder / name
        try:
            size = file.stat().st_size
            if size != record.bytes:
                faults.append(f"{file}: has {size} bytes instead of {record.bytes}")
            elif file_hash(file) != record.sha256:
                faults.append(f"{file}: is not what was written")
        except FileNotFoundError:
            faults.append(f"{file}: is missing")
        except OSError as error:
            faults.append(f"{file}: cannot be read ({error.strerror or error})")
    return faults
