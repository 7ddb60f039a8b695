"""`python -m tests.truth`: edit, run and kill a benchmark at random; what it shows must be true.

Run it in the repository's root. It exits with 1 if anything was wrong, and says after which edits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


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
    sys.path[:0] = [str(HERE), str(HERE.parent / "pipeline")]
    for root in ("CONFIG", "DATASET_ROOT", "STORAGE_ROOT"):
        os.environ.pop(f"PATCHCORE_{root}", None)
    os.environ.pop("DAGSTER_HOME", None)
    # A process of many threads could not be forked to be killed.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    import torch

    torch.set_num_threads(1)
    from truth_faults import planted
    from truth_oracle import Oracle

    began = time.monotonic()
    outcomes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="truth-") as name, planted(options.plant):
        oracle = Oracle(Path(name))
        for seed in range(options.seed, options.seed + options.sequences):
            outcomes.append(one_sequence(Path(name) / f"site-{seed}", oracle, seed, options.steps))
            for line in outcomes[-1]["wrong"]:
                print(f"WRONG in sequence {seed}: {line}", flush=True)
            if options.plant and outcomes[-1]["wrong"]:
                break
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


def one_sequence(folder: Path, oracle: Any, seed: int, steps: int) -> dict[str, Any]:
    """Do one sequence of edits and runs, and look at everything that is shown after each."""
    from truth_claims import Claims
    from truth_edits import Editor
    from truth_site import Site

    site = Site(folder, oracle.weights)
    editor, claims = Editor(site, seed), Claims(site, oracle)
    wrong: list[str] = []
    for step in (editor.run_all, *[editor.step] * steps, editor.run_all):
        said = step()
        found = [f"{name}: {words}" for name, words in said.items() if words.startswith("NOT A")]
        found.extend(claims.wrong())
        if found:
            wrong = [*found, f"after: {'; '.join(editor.done)}"]
            break
    return {"done": editor.done, "compared": claims.compared, "wrong": wrong}


if __name__ == "__main__":
    sys.exit(main())
