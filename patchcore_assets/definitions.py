"""The definitions that Dagster loads, and the configuration file that they serve."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

CONFIG_VARIABLE = "PATCHCORE_CONFIG"
DEFAULT_CONFIG = "patchcore.yaml"


def config_path() -> Path:
    """Return the file named by PATCHCORE_CONFIG, or patchcore.yaml here or beside the packages."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    here = Path.cwd() / DEFAULT_CONFIG
    return here if here.is_file() else Path(__file__).resolve().parents[1] / DEFAULT_CONFIG


@dg.definitions
def defs() -> dg.Definitions:
    """Define the benchmark of the configuration file that the environment names."""
    from patchcore_assets.graph import define
    from patchcore_assets.step.failures import report_plainly
    from patchcore_assets.step.one_category import refuse_partition_range
    from patchcore_ops.config import load_config

    with report_plainly():
        config = load_config(config_path())
        refuse_partition_range(config)
        return define(config)
