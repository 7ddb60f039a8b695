"""Weights from local files, read without executing anything that they might carry."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from patchcore_ops.runtime.errors import WeightsError

# Where training frameworks put the weights in a checkpoint that holds more.
NESTED_UNDER = ("state_dict", "model_state_dict", "model")
# What wrappers put before the name of every tensor.
_WRAPPERS = ("module.", "_orig_mod.")
# How a zip archive and a pickle begin: what torch.save writes, and wrote before 2020.
_TORCH = (b"PK\x03\x04", b"\x80")
_REMEDY = "save the plain state dict (.pth) or, better, a .safetensors file"
_OTHER_CONTENT = {
    b"version https://git-lfs": "is a Git LFS pointer and not the weights; run: git lfs pull",
    b"<!DOCTYPE": "is a web page and not the weights; download the file itself",
    b"<html": "is a web page and not the weights; download the file itself",
}
_FORBIDDEN = re.compile(
    r"(?:Unsupported global: GLOBAL|load unsupported GLOBAL|[Uu]nsupported class) (\S+)"
)


def read_state_dict(weights: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict from a `.pth` or `.safetensors` file; the content tells which it is.

    Raises WeightsError if the file cannot be read, is damaged, is none of the two, or carries
    Python code.
    """
    file = Path(weights)
    head = _head(file)
    try:
        if _is_safetensors(file, head):
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                # It warns of what is refused here anyway.
                warnings.simplefilter("ignore")
                # Given the name, torch would choose the format by it.
                with file.open("rb") as stream:
                    content = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _refusal(file, head, error) from None
    return _state_of(file, content)


def _head(file: Path) -> bytes:
    """Read the first bytes, and refuse what is no file of weights at all."""
    if file.is_dir():
        raise WeightsError(f"{file}: is a folder; name the weights file in it")
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file; correct `weights` of this member")
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise WeightsError(
            f"{file}: cannot be read ({error.strerror or error}); make it readable"
        ) from None
    if not head:
        raise WeightsError(f"{file}: is empty; copy or download it again")
    for beginning, what in _OTHER_CONTENT.items():
        if head.lower().startswith(beginning.lower()):
            raise WeightsError(f"{file}: {what}")
    return head


def _is_safetensors(file: Path, head: bytes) -> bool:
    """Tell the format by its content, and by the name only where the content does not say."""
    if head[8:9] == b"{":
        return True
    return not head.startswith(_TORCH) and file.suffix == ".safetensors"


def _refusal(file: Path, head: bytes, error: Exception) -> WeightsError:
    text = str(error)
    if (forbidden := _FORBIDDEN.search(text)) or "TorchScript" in text:
        carried = forbidden[1].rstrip(".,") if forbidden else "a TorchScript program"
        return WeightsError(
            f"{file}: refused and not executed, for it carries Python code or objects beside its "
            f"tensors ({carried[:100]}); {_REMEDY}"
        )
    if "Unsupported operand" in text and head.startswith(_TORCH):
        return WeightsError(
            f"{file}: refused and not executed, for it is not what torch.save writes and may carry "
            f"Python code; {_REMEDY}"
        )
    lines = text.strip().splitlines()
    reason = lines[0] if lines and "Weights only load failed" not in lines[0] else "damaged"
    return WeightsError(
        f"{file}: is not a readable weights file ({reason[:200]}); copy it again, or {_REMEDY}"
    )


def _state_of(file: Path, content: Any) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping):
        for name in NESTED_UNDER:
            if isinstance(content.get(name), Mapping):
                content = content[name]
                break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, torch.Tensor) for value in content.values())
    ):
        raise WeightsError(
            f"{file}: holds no state dict (a mapping of names to tensors); {_REMEDY}"
        )
    state = {str(name): value for name, value in content.items()}
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state
