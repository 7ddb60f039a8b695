"""timm comes without torch's compiler, and the compiler still comes when it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def in_fresh_process(program: str) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


_HEAVY = "{name: name in sys.modules for name in ('torch._dynamo', 'sympy', 'triton')}"


def test_importing_timm_leaves_the_compiler_out() -> None:
    found = in_fresh_process(
        "import json, sys\n"
        "from patchcore_ops.network_library import import_timm\n"
        "model = import_timm().create_model('resnet18')\n"
        f"print(json.dumps({{**{_HEAVY}, 'layers': len(list(model.children()))}}))"
    )
    assert found.pop("layers") == 10
    assert not any(found.values())


def test_the_compiler_works_afterwards() -> None:
    found = in_fresh_process(
        "import json, sys, torch\n"
        "from patchcore_ops.network_library import import_timm\n"
        "import_timm()\n"
        "double = torch.compile(lambda x: 2 * x, backend='eager')\n"
        "from torchvision.ops import roi_align\n"
        "boxes = torch.tensor([[0, 0.0, 0.0, 4.0, 4.0]])\n"
        "print(json.dumps({\n"
        "    'compiled': double(torch.ones(2)).tolist(),\n"
        "    'aligned': list(roi_align(torch.rand(1, 1, 8, 8), boxes, 2).shape),\n"
        "    'file': sys.modules['torch._dynamo'].__file__,\n"
        "}))"
    )
    assert found["compiled"] == [2.0, 2.0]
    assert found["aligned"] == [1, 1, 2, 2]
    assert str(found["file"]).endswith("torch/_dynamo/__init__.py")


def test_a_compiler_that_is_there_stays() -> None:
    found = in_fresh_process(
        "import json, sys, torch._dynamo\n"
        "from patchcore_ops.network_library import import_timm\n"
        "before = sys.modules['torch._dynamo']\n"
        "import_timm()\n"
        "print(json.dumps({'same': sys.modules['torch._dynamo'] is before}))"
    )
    assert found["same"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # What the stand-ins do not know comes from the real modules.
        ("from torch._dynamo import is_compiling; answer = is_compiling()", False),
        ("import torch._dynamo.config as config; answer = config.suppress_errors", False),
        ("from torch._dynamo.utils import counters; answer = len(counters)", 0),
        ("import torch; answer = bool(torch._dynamo.list_backends())", True),
    ],
)
def test_further_questions_reach_the_compiler(asked: str, expected: object) -> None:
    found = in_fresh_process(
        "import json, sys, torch\n"
        "from patchcore_ops import network_library\n"
        "with network_library._compiler_left_out():\n"
        f"    {asked}\n"
        "    real = sys.modules['torch._dynamo'].__file__ is not None\n"
        "print(json.dumps({'answer': answer, 'real': real}))"
    )
    assert found == {"answer": expected, "real": True}


def test_functions_are_marked_for_the_compiler_that_may_come() -> None:
    found = in_fresh_process(
        "import json, torch\n"
        "from patchcore_ops import network_library\n"
        "with network_library._compiler_left_out():\n"
        "    @torch.compiler.disable\n"
        "    def plain(x):\n"
        "        return x + 1\n"
        "    @torch.compiler.disable(recursive=False)\n"
        "    def called(x):\n"
        "        return x + 1\n"
        "print(json.dumps({name: [f(1), f._torchdynamo_disable]\n"
        "                  for name, f in (('plain', plain), ('called', called))}))"
    )
    assert found == {"plain": [2, True], "called": [2, True]}


def test_stand_ins_go_when_the_import_fails() -> None:
    found = in_fresh_process(
        "import json, sys, torch\n"
        "from patchcore_ops import network_library\n"
        "try:\n"
        "    with network_library._compiler_left_out():\n"
        "        raise ImportError\n"
        "except ImportError:\n"
        "    pass\n"
        f"print(json.dumps({_HEAVY}))"
    )
    assert not any(found.values())
