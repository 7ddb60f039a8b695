"""Runs one task in a fresh process, for `benchmarks.measuring`; not a command for people.

    python -m benchmarks.child MODULE:FUNCTION ARGUMENTS.json RESULT.json

It may run in another environment's Python, so only the standard library and torch are used.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.measuring import run_main


def main() -> None:
    """Call the named function with the arguments of a JSON file; write what it returns."""
    task, arguments_file, result_file = sys.argv[1:]
    module, _, function = task.partition(":")
    arguments = json.loads(Path(arguments_file).read_text(encoding="utf-8"))
    tasks = import_module(module)
    if hasattr(tasks, "prepare_process"):
        # Ours, of which few import torch; its threads follow OMP_NUM_THREADS there.
        tasks.prepare_process()
    else:
        _limit_torch_threads()
    result = getattr(tasks, function)(**arguments)
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


def _limit_torch_threads() -> None:
    """Set torch's threads explicitly; the libraries below it read OMP_NUM_THREADS themselves."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


if __name__ == "__main__":
    run_main(main)
