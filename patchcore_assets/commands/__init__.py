"""The command `patchcore`: one module for each of its subcommands."""
