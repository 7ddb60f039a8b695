"""FAISS computes with the kernels that the processor has, and nothing else is told of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_KERNELS = """
import os
from pathlib import Path
from patchcore_ops.scoring import faiss_library
faiss_library._PROCESSORS = Path("{processors}")
with faiss_library._kernels_named():
    print(os.environ.get("OPENBLAS_CORETYPE"))
print(os.environ.get("OPENBLAS_CORETYPE"))
"""
_OF_2013 = "fpu sse2 fma avx avx2"
_OF_2017 = f"{_OF_2013} avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("flags", "own", "expected"),
    [
        ("fpu sse2", None, "None"),
        (_OF_2013, None, "HASWELL"),
        (_OF_2017, None, "SKYLAKEX"),
        (f"{_OF_2013} avx512f avx512cd", None, "HASWELL"),
        (_OF_2017, "ZEN", "ZEN"),
        (None, None, "None"),
    ],
)
def test_openblas_is_told_what_the_processor_can(
    tmp_path: Path, flags: str | None, own: str | None, expected: str
) -> None:
    processors = tmp_path / "cpuinfo"
    if flags is not None:
        processors.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n")
    environment = {name: os.environ[name] for name in os.environ if name != "OPENBLAS_CORETYPE"}
    result = subprocess.run(
        [sys.executable, "-c", _KERNELS.format(processors=processors)],
        env=environment | ({} if own is None else {"OPENBLAS_CORETYPE": own}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [expected, str(own)]


def test_faiss_computes_with_the_kernels_that_it_was_told() -> None:
    script = (
        "import os, threadpoolctl\n"
        "from patchcore_ops.scoring import faiss_library\n"
        "told = os.environ.get('OPENBLAS_CORETYPE') or faiss_library._best_kernels()\n"
        "faiss_library.import_faiss()\n"
        "for one in threadpoolctl.threadpool_info():\n"
        "    if one['user_api'] == 'blas' and one['internal_api'] == 'openblas':\n"
        "        found = one['architecture'].upper()\n"
        "        assert 'faiss' not in one['filepath'] or found == (told or found).upper(), one"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
