"""The option that names the configuration, alike for every command that works on a benchmark."""

from __future__ import annotations

import argparse

from patchcore_assets.location import CONFIG_VARIABLE


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add `--config`; None means what `location.config_path` finds."""
    parser.add_argument(
        "--config",
        default=None,
        help=f"the YAML file or its URL; default: {CONFIG_VARIABLE}, or patchcore.yaml",
    )
