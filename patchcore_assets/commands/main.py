"""`patchcore`: everything that is done from the command line."""

from __future__ import annotations

import argparse
import os
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
from patchcore_ops.runtime.errors import UserError

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
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Or Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # What a shell says of a program whose reader has gone, as `head` does.
    except UserError as mistake:
        print(mistake, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
