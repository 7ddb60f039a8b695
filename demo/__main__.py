"""Write the demonstration dataset: `python -m demo --root data/demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.build import DEMO_CATEGORIES, build_category
from patchcore_ops.runtime.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the categories asked for, print one line for each, and return the exit status."""
    options = _parser().parse_args(arguments)
    for name in options.categories:
        try:
            built = build_category(options.root, name, seed=options.seed, force=options.force)
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        outcome = "written to" if built.written else "already complete in"
        images = sum(1 for _ in built.folder.glob("t*/*/*.png"))
        print(f"{name}: {images} images {outcome} {built.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Write the demonstration dataset in the MVTec AD folder layout.",
    )
    parser.add_argument("--root", type=Path, default=Path("data/demo"), help="output folder")
    parser.add_argument("--seed", type=int, default=0, help="determines every image")
    parser.add_argument(
        "--categories",
        nargs="+",
        choices=DEMO_CATEGORIES,
        default=DEMO_CATEGORIES,
        help="categories to build (default: all)",
    )
    parser.add_argument(
        "--force", action="store_true", help="rewrite categories that exist already"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
