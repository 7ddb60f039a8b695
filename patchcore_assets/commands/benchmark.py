"""`patchcore benchmark`: a whole benchmark from the command line, without a daemon."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from patchcore_assets.commands.config_option import add_config_option
from patchcore_assets.commands.outcome import exit_code
from patchcore_assets.location import CONFIG_VARIABLE, config_path
from patchcore_ops.config import load_config
from patchcore_ops.config.presets import PRESETS
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.runtime.process import tune_process

NAME = "benchmark"
HELP = "Run every category of a benchmark, then its table and report."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_config_option(parser)
    parser.add_argument(
        "--launch",
        action="store_true",
        help="queue the runs for the daemon (and its cluster) and follow them, instead of running "
        "here",
    )
    parser.add_argument(
        "--presets",
        nargs="+",
        metavar="PRESET",
        help="run once with each of these presets, into a storage of its own, and compare",
    )
    parser.add_argument(
        "categories", nargs="*", help="run only these categories; default: all of the file"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `patchcore benchmark` by its other name, `patchcore-benchmark`."""
    parser = argparse.ArgumentParser(prog="patchcore-benchmark", description=HELP)
    add_arguments(parser)
    return exit_code(run, parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run the benchmark; return 1 if any category failed."""
    tune_process()
    # Dagster takes a second to load.
    from patchcore_assets.commands.wave import run_wave, see_to_home

    config = load_config(options.config or config_path())
    see_to_home()
    chosen = list(dict.fromkeys(options.categories or config.categories))
    for category in chosen:
        config.for_category(category)
    if options.presets:
        from patchcore_assets.commands.presets import run_presets

        if options.launch:
            raise ConfigError("--presets: runs here; leave --launch out")
        for name in options.presets:
            if name not in PRESETS:
                raise ConfigError(
                    f"--presets: {name!r} is none of {', '.join(PRESETS)}; name categories before "
                    "this option"
                )
        return run_presets(str(config.path), list(dict.fromkeys(options.presets)), chosen)
    if options.launch:
        from patchcore_assets.commands.launched_wave import launch_wave

        os.environ[CONFIG_VARIABLE] = str(config.path)
        return launch_wave(config, chosen)
    return 1 if run_wave(config, chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
