"""The definitions that Dagster loads."""

from __future__ import annotations

import dagster as dg

from patchcore_assets.location import config_path


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
