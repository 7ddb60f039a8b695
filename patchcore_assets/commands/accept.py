"""`patchcore accept`: confirmed normal images become train images."""

from __future__ import annotations

import argparse

from patchcore_assets.commands.additions import add, add_common_arguments

NAME = "accept"
HELP = "Copy images that were confirmed as normal into train/good of their category."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_common_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Add the images to `train/good`."""
    add(options, "train/good", "accepted", fine=["test/good"])
    return 0
