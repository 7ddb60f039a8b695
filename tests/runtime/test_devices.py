"""Which device a step computes on, and when torch is asked."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime import devices
from patchcore_ops.runtime.devices import (
    coreset_device,
    device_name,
    has_gpu_driver,
    resolve_device,
)
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.stages.layout import INDICES, TRAIN_EMBEDDINGS
from patchcore_ops.stages.memory_bank import select_memory_bank


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend that torch is installed below a folder, with a driver beside; torch is not asked."""
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(devices, "_DRIVER_FILES", (str(driver),))
    origin = str(tmp_path / "torch" / "__init__.py")
    spec = importlib.machinery.ModuleSpec("torch", None, origin=origin)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("is_available", [True, False])
@pytest.mark.parametrize("library", ["libtorch_cuda.so", "libtorch_hip.so", "libtorch_cpu.so"])
@pytest.mark.parametrize("driver", [True, False])
def test_auto_is_what_torch_finds_where_it_could_find_a_gpu(
    installed: Path, monkeypatch: pytest.MonkeyPatch, driver: bool, library: str, is_available: bool
) -> None:
    if driver:
        (installed / "nvidiactl").touch()
    (installed / "torch" / "lib" / library).touch()
    asked = []

    def answer() -> bool:
        asked.append(True)
        return is_available

    monkeypatch.setattr(torch.cuda, "is_available", answer)
    assert has_gpu_driver() == driver
    found = device_name("auto")
    may_be = driver and library != "libtorch_cpu.so"
    assert bool(asked) == may_be
    assert found == ("cuda" if may_be and is_available else "cpu")


def test_without_torch_auto_is_the_cpu(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed / "nvidiactl").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert device_name("auto") == "cpu"


def test_a_named_device_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_name("cuda:1") == "cuda:1"
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device("auto") == torch.device("cuda")
    for name in ("cuda:2", "cuda:9"):
        with pytest.raises(EnvironmentProblem, match=rf"'{name}' is not available .*auto or cpu"):
            device_name(name)


@pytest.mark.parametrize("setting", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_the_coreset_is_computed_where_there_is_float64(setting: str) -> None:
    assert coreset_device(setting) == ("cpu" if setting == "mps" else setting)


def test_a_bank_is_selected_for_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever touches torch's device `mps` fails here, as float64 on it does on a Mac."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    rows = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    (tmp_path / "0").mkdir()
    np.save(tmp_path / "0" / TRAIN_EMBEDDINGS, rows)
    picks = []
    for device in ("cpu", "mps"):
        runtime = RuntimeSection(device=device)
        select_memory_bank(tmp_path, CategoryConfig(), runtime, tmp_path / device)
        picks.append(np.load(tmp_path / device / "0" / INDICES))
    assert len(picks[0]) == 40
    np.testing.assert_array_equal(*picks)
