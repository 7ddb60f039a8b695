"""`patchcore`: everything that is done from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from patchcore_assets.commands import (
    accept,
    benchmark,
    evaluate,
    export,
    import_reference,
    predict,
    reject,
    serve,
    suspects,
)
from patchcore_assets.commands.outcome import exit_code

# In the order of `patchcore --help`. Each has `NAME`, `HELP`, `add_arguments` and `run`.
SUBCOMMANDS = (
    benchmark,
    predict,
    serve,
    suspects,
    accept,
    reject,
    evaluate,
    export,
    import_reference,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit code: 2 after a mistake of the user, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="patchcore", description="Benchmark PatchCore, and use what it has learned."
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for subcommand in SUBCOMMANDS:
        subparser = subparsers.add_parser(
            subcommand.NAME, help=subcommand.HELP, description=subcommand.HELP
        )
        subcommand.add_arguments(subparser)
        subparser.set_defaults(run=subcommand.run)
    options = parser.parse_args(arguments)
    return exit_code(options.run, options)


if __name__ == "__main__":
    sys.exit(main())
