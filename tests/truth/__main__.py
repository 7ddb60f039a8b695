"""`python -m tests.truth`: edit, run and kill a benchmark at random; what it shows must be true.

Run it in the repository's root. It exits with 1 if anything was wrong, and says after which edits.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IMPORTS = (
    *("dagster", "faiss", "pandas", "pyarrow.parquet", "scipy.ndimage", "sklearn.metrics"),
    *("timm", "torch", "torchvision", "patchcore_assets.graph"),
)


def main() -> int:
    """Try as many sequences as the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description=__doc__)
    parser.add_argument("--sequences", type=int, default=20)
    parser.add_argument("--steps", type=int, default=8, help="edits and runs of a sequence")
    parser.add_argument("--seed", type=int, default=0, help="of the first sequence")
    parser.add_argument(
        "--plant", choices=("position", "refused", "file"), help="a fault to find, then stop"
    )
    parser.add_argument("--figures", type=Path, help="receives the counts as JSON")
    options = parser.parse_args()
    prepare()
    from truth_site import in_a_child

    began = time.monotonic()
    outcomes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="truth-") as name:
        folder = Path(name)
        # Sequences of one child share what its oracle remembers.
        for start in range(0, options.sequences, 20):
            count = min(20, options.sequences - start)
            seeds = list(range(options.seed + start, options.seed + start + count))
            log = folder / f"{start}.log"
            found = in_a_child(
                lambda seeds=seeds: sequences(folder, seeds, options.steps, options.plant), log
            )
            if found is None:
                print(f"sequences {seeds} ended without a result:\n{log.read_text()[-3000:]}")
                return 1
            outcomes.extend(found)
            for one in found:
                for line in one["wrong"]:
                    print(f"WRONG in sequence {one['seed']}: {line}", flush=True)
    counts = {
        "sequences": len(outcomes),
        "edits_and_runs": sum(len(one["done"]) for one in outcomes),
        "claims_compared": sum(one["compared"] for one in outcomes),
        "sequences_wrong": sum(bool(one["wrong"]) for one in outcomes),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(counts))
    if options.figures:
        options.figures.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    return int(counts["sequences_wrong"] > 0)


def sequences(
    folder: Path, seeds: list[int], steps: int, plant: str | None
) -> list[dict[str, Any]]:
    """Try some sequences, one after the other."""
    from truth_claims import random_weights
    from truth_faults import planted
    from truth_oracle import Oracle

    weights = folder / "weights.pth"
    if not weights.is_file():
        random_weights(weights)
    oracle = Oracle(weights)
    outcomes = []
    with planted(plant):
        for seed in seeds:
            outcomes.append(sequence(folder / f"site-{seed}", weights, oracle, seed, steps))
            if plant and outcomes[-1]["wrong"]:
                break
    return outcomes


def sequence(folder: Path, weights: Path, oracle: Any, seed: int, steps: int) -> dict[str, Any]:
    """Do one sequence of edits and runs, and look at everything that is shown after each."""
    from truth_claims import Claims, current_is_what_dagster_knows
    from truth_edits import Editor
    from truth_site import Site

    site = Site(folder, weights)
    editor = Editor(site, seed)
    claims = Claims(site, oracle)
    wrong: list[str] = []

    def look(said: dict[str, str]) -> None:
        raw = [f"{step} said: {words}" for step, words in said.items() if "NOT A SENTENCE" in words]
        found = [*raw, *claims.wrong()]
        if not site.killed:
            found.extend(current_is_what_dagster_knows(site))
        if found:
            wrong.extend([*found, f"after: {'; '.join(editor.done)}"])

    look(editor.run_all())
    for _ in range(steps):
        if wrong:
            break
        look(editor.step())
    if not wrong:
        look(editor.run_all())
    return {"seed": seed, "done": editor.done, "compared": claims.compared, "wrong": wrong}


def prepare() -> None:
    """Import everything, in one thread, without the caller's own benchmark."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "pipeline")]
    for name in (
        *("PATCHCORE_CONFIG", "PATCHCORE_DATASET_ROOT", "PATCHCORE_STORAGE_ROOT"),
        "DAGSTER_HOME",
    ):
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    for name in IMPORTS:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
