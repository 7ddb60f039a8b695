r"""The whole benchmark of a configuration, by this checkout and by others, in turn.

    git worktree add ../before <commit>
    python -m benchmarks.compare_versions --config configs/demo.yaml --others ../before

Each runs `patchcore benchmark` in fresh processes, with a storage and a history of its own that
stay between its runs. The first run of each, in which a network may be exported, has a column of
its own. Later runs take over what has not changed, unless the configuration has
`runtime.recompute: true` and all checkouts know it. All use this environment's packages.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import tables
from benchmarks.measuring import REPOSITORY, Run, median, run_command, run_main, say
from benchmarks.workloads import add_repeats_option, add_thread_option


def main() -> None:
    """Measure and write."""
    options = _options()
    trees = [REPOSITORY, *(tree.resolve() for tree in options.others)]
    runs: dict[Path, list[Run]] = {tree: [] for tree in trees}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for repeat in range(options.repeats + 1):
            for tree in trees:
                say(f"[{repeat}/{options.repeats}] {tree}")
                place = Path(folder) / str(trees.index(tree))
                runs[tree].append(_run(tree, options, place))
    rows = [_row(tree, of_tree, runs[REPOSITORY]) for tree, of_tree in runs.items()]
    notes = [
        f"patchcore benchmark --config {options.config.name}; medians of {options.repeats} runs in "
        "turn after a first one; peak memory of the process."
    ]
    table = tables.Table("The whole benchmark, by this checkout and by others", rows, notes)
    tables.write(options, "compare_versions", table, tables.bars(rows, "checkout", "later s"))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration file")
    parser.add_argument(
        "--others", type=Path, nargs="+", required=True, help="checkouts to compare with"
    )
    add_thread_option(parser)
    add_repeats_option(parser)
    return parser.parse_args()


def _run(tree: Path, options: argparse.Namespace, place: Path) -> Run:
    home = place / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    # Earlier checkouts have one module for the command.
    is_earlier = (tree / "patchcore_assets" / "command.py").is_file()
    module = "patchcore_assets.command" if is_earlier else "patchcore_assets.commands.benchmark"
    command = ["-m", module, "--config", str(options.config.resolve())]
    environment = {
        "PYTHONPATH": str(tree),
        "PATCHCORE_STORAGE_ROOT": str(place / "storage"),
        "DAGSTER_HOME": str(home),
    }
    return run_command([sys.executable, *command], options.threads, environment, place)


def _row(tree: Path, runs: list[Run], ours: list[Run]) -> tables.Row:
    first, *later = runs
    seconds = [run.wall_seconds for run in later]
    return {
        "checkout": tree.name,
        "first s": first.wall_seconds,
        "later s": median(seconds),
        "this / it": tables.ratio(median([run.wall_seconds for run in ours[1:]]), median(seconds)),
        "peak MB, first": first.peak_bytes / 1e6,
        "peak MB, later": max(run.peak_bytes for run in later) / 1e6,
        "runs": tables.listed(seconds),
    }


if __name__ == "__main__":
    run_main(main)
