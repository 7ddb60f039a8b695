"""Weights, backbones, layers and image sizes that cannot be used, and what is said of each."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from patchcore_ops.backbones.load import load_backbone, weights_hash
from patchcore_ops.runtime.errors import WeightsError

BACKBONE = "test_resnet"
State = dict[str, torch.Tensor]


class _Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


def zipped(state: State, file: Path) -> bytes:
    torch.save(state, file)
    return file.read_bytes()


def with_value(state: State, key: str, value: float) -> State:
    damaged = state[key].clone()
    damaged.view(-1)[0] = value
    return {**state, key: damaged}


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


CONV = "conv1.0.weight"
NORM = "bn1.running_var"


def write_empty(file: Path, _: State) -> None:
    file.write_bytes(b"")


def write_text(text: bytes) -> Callable[[Path, State], None]:
    return lambda file, _: file.write_bytes(text) and None


def write(change: Callable[[State], Any]) -> Callable[[Path, State], None]:
    return lambda file, state: torch.save(change(state), file)


def write_old(file: Path, state: State) -> None:
    content = {**state, "x": _Payload(file.parent / "executed")}
    torch.save(content, file, _use_new_zipfile_serialization=False)


def write_pickle(protocol: int) -> Callable[[Path, State], None]:
    def write_it(file: Path, _: State) -> None:
        file.write_bytes(pickle.dumps(_Payload(file.parent / "executed"), protocol=protocol))

    return write_it


def write_whole_module(file: Path, _: State) -> None:
    torch.save(timm.create_model(BACKBONE, pretrained=False), file)


def write_half(file: Path, state: State) -> None:
    whole = zipped(state, file)
    file.write_bytes(whole[: len(whole) // 2])


def write_flipped(file: Path, state: State) -> None:
    torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        position = archive.getinfo(f"{file.stem}/data.pkl").header_offset
    whole = bytearray(file.read_bytes())
    whole[position + 100 : position + 400] = b"\xff" * 300
    file.write_bytes(whole)


def safe(change: Callable[[State], State]) -> Callable[[Path, State], None]:
    return lambda file, state: save_file(change(state), file)


def write_half_safe(file: Path, state: State) -> None:
    save_file(state, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def header(length: int, content: bytes) -> Callable[[Path, State], None]:
    return write_text(length.to_bytes(8, "little") + content)


def offsets_beyond_the_end(file: Path, _: State) -> None:
    content = json.dumps(
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}
    ).encode()
    file.write_bytes(len(content).to_bytes(8, "little") + content)


CODE = "refused and not executed, for it carries Python code or objects"
DAMAGED = "is not a readable weights file ("
FILES: list[tuple[str, str, Callable[[Path, State], None], str, str]] = [
    # (name, file, how it is written, what the sentence begins with, what else it says)
    ("empty", "w.pth", write_empty, "is empty; copy or download it again", ""),
    ("text", "w.pth", write_text(b"no weights at all"), DAMAGED, "copy it again"),
    ("garbage", "w.pth", write_text(bytes(range(256)) * 40), DAMAGED, ""),
    (
        "pickle garbage",
        "w.pth",
        write_text(b"\x80\x02\xff" * 99),
        "refused and not executed",
        "code",
    ),
    ("half a zip", "w.pth", write_half, DAMAGED, "copy it again"),
    ("damaged zip", "w.pth", write_flipped, "", "w.pth"),
    ("other zip", "w.pth", write_text(b"PK\x03\x04" + b"\0" * 99), DAMAGED, ""),
    ("text as safetensors", "w.safetensors", write_text(b"no weights at all"), DAMAGED, ""),
    ("half a safetensors", "w.safetensors", write_half_safe, DAMAGED, "copy it again"),
    ("huge header", "w.safetensors", header(2**64 - 1, b"{}"), DAMAGED, "header too large"),
    ("long header", "w.safetensors", header(10**7, b"{}"), DAMAGED, "header"),
    ("header no json", "w.safetensors", header(4, b"{a:}"), DAMAGED, "header"),
    ("offsets too far", "w.safetensors", offsets_beyond_the_end, DAMAGED, ""),
    (
        "lfs",
        "w.pth",
        write_text(b"version https://git-lfs.github.com/spec/v1\n"),
        "is a Git LFS",
        "pull",
    ),
    (
        "web page",
        "w.pth",
        write_text(b"<!doctype html><html>"),
        "is a web page and not",
        "download",
    ),
    (
        "payload",
        "w.pth",
        write(lambda s: {**s, "x": _Payload(Path("executed"))}),
        CODE,
        "posix.mkdir",
    ),
    ("payload, old form", "w.pth", write_old, CODE, "posix.mkdir"),
    ("bare pickle", "w.pth", write_pickle(2), CODE, "posix.mkdir"),
    (
        "bare new pickle",
        "w.pth",
        write_pickle(5),
        "refused and not executed",
        "may carry Python code",
    ),
    ("whole network", "w.pth", write_whole_module, CODE, "timm.models"),
    ("payload named safetensors", "w.safetensors", write_old, CODE, "posix.mkdir"),
    ("tensor", "w.pth", write(lambda s: s[CONV]), "holds no state dict", "mapping of names"),
    ("numbers", "w.pth", write(lambda _: {CONV: 3.0}), "holds no state dict", ""),
    ("nothing", "w.pth", write(lambda _: {}), "holds no state dict", ""),
    ("nested nothing", "w.pth", write(lambda _: {"state_dict": {}}), "holds no state dict", ""),
    (
        "missing",
        "w.pth",
        write(lambda s: without(s, CONV, NORM)),
        "does not fit the backbone 'test_resnet': it lacks 2 of its",
        f"({CONV} [16, 3, 3, 3], {NORM} [32])",
    ),
    (
        "unknown",
        "w.pth",
        write(lambda s: {**s, "extra.weight": torch.zeros(2, 3)}),
        "does not fit the backbone 'test_resnet': it has 1 that it does not know",
        "(extra.weight [2, 3])",
    ),
    (
        "other shape",
        "w.safetensors",
        safe(lambda s: {**s, CONV: torch.zeros(7, 3, 3, 3)}),
        "does not fit the backbone 'test_resnet': it has 1 of another shape",
        f"({CONV} [7, 3, 3, 3] instead of [16, 3, 3, 3])",
    ),
    (
        "all three",
        "w.pth",
        write(lambda s: {**without(s, NORM), CONV: torch.zeros(7), "x": torch.zeros(1)}),
        "does not fit the backbone 'test_resnet': it lacks 1",
        "it has 1 that it does not know (x [1]); it has 1 of another shape",
    ),
    ("nan", "w.pth", write(lambda s: with_value(s, CONV, np.nan)), "1 of 432 values of its", CONV),
    ("inf", "w.safetensors", safe(lambda s: with_value(s, NORM, np.inf)), "1 of 32 values", NORM),
    (
        "whole numbers",
        "w.pth",
        write(lambda s: {**s, CONV: torch.ones(16, 3, 3, 3, dtype=torch.int8)}),
        f"its tensor {CONV} holds int8 numbers instead of floating-point ones",
        "quantised",
    ),
]


@pytest.mark.parametrize(
    ("name", "write_file", "begins", "holds"),
    [row[1:] for row in FILES],
    ids=[row[0] for row in FILES],
)
def test_weights_that_cannot_be_used_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: State,
    name: str,
    write_file: Callable[[Path, State], None],
    begins: str,
    holds: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    write_file(file, state)
    with pytest.raises(WeightsError) as caught:
        load_backbone(BACKBONE, file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {begins}")
    assert holds in message
    assert "\n" not in message
    assert len(message) < len(str(file)) + 400
    assert not (tmp_path / "executed").exists()


def test_the_payload_would_have_done_it(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


def test_a_folder_an_absent_and_an_unreadable_file(tmp_path: Path, state: State) -> None:
    with pytest.raises(WeightsError, match="is a folder; name the weights file in it"):
        load_backbone(BACKBONE, tmp_path)
    with pytest.raises(WeightsError, match="no such weights file; correct `weights`"):
        load_backbone(BACKBONE, tmp_path / "absent.pth")
    if os.geteuid() != 0:
        torch.save(state, tmp_path / "closed.pth")
        (tmp_path / "closed.pth").chmod(0)
        with pytest.raises(WeightsError, match=r"cannot be read \(Permission denied\)"):
            load_backbone(BACKBONE, tmp_path / "closed.pth")


ACCEPTED: list[tuple[str, str, Callable[[Path, State], None]]] = [
    ("plain", "w.pth", write(lambda s: s)),
    ("any extension", "w.bin", write(lambda s: s)),
    ("no extension", "weights", write(lambda s: s)),
    ("pth named safetensors", "w.safetensors", write(lambda s: s)),
    ("safetensors named pth", "w.pth", safe(lambda s: s)),
    ("under state_dict", "w.pth", write(lambda s: {"state_dict": s, "epoch": 3})),
    ("under model", "w.pth", write(lambda s: {"model": s, "optimizer": {"lr": 0.1}})),
    ("under model_state_dict", "w.pth", write(lambda s: {"model_state_dict": s})),
    ("parallel", "w.pth", write(lambda s: {f"module.{k}": v for k, v in s.items()})),
    ("compiled", "w.pth", write(lambda s: {f"_orig_mod.{k}": v for k, v in s.items()})),
    (
        "double",
        "w.safetensors",
        safe(lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()}),
    ),
    ("no classifier", "w.pth", write(lambda s: without(s, "fc.weight", "fc.bias"))),
    ("other classifier", "w.pth", write(lambda s: {**s, "fc.weight": torch.ones(3, 96)})),
]


@pytest.mark.parametrize(
    ("name", "write_file"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED]
)
def test_weights_in_other_clothes_are_accepted(
    tmp_path: Path, state: State, name: str, write_file: Callable[[Path, State], None]
) -> None:
    write_file(tmp_path / name, state)
    loaded = load_backbone(BACKBONE, tmp_path / name)
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for key, value in loaded.state_dict().items():
        assert value.dtype == state[key].dtype
        assert key.startswith("fc.") or torch.equal(value, state[key]), key
    # Also where the file has no classifier, the network is the same each time.
    assert weights_hash(loaded) == weights_hash(load_backbone(BACKBONE, tmp_path / name))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path: Path, state: State, dtype: torch.dtype) -> None:
    halved = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    save_file(halved, tmp_path / "half.safetensors")
    loaded = load_backbone(BACKBONE, tmp_path / "half.safetensors").state_dict()
    assert all(loaded[key].dtype == value.dtype for key, value in state.items())
    assert torch.equal(loaded[CONV], halved[CONV].float())
