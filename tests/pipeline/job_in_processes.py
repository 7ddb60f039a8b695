"""A job whose steps run in processes of their own, which import this module."""

from __future__ import annotations

import os

import dagster as dg

from patchcore_assets.graph import define
from patchcore_ops.config import load_config


def two_steps() -> dg.JobDefinition:
    """Return the job; PATCHCORE_CONFIG names the configuration."""
    definitions = define(load_config(os.environ["PATCHCORE_CONFIG"]))
    return dg.Definitions(
        assets=definitions.assets,
        resources=definitions.resources,
        jobs=[
            dg.define_asset_job(
                "two_steps",
                selection=["image_manifest", "raw_embeddings"],
                executor_def=dg.multiprocess_executor,
            )
        ],
    ).resolve_job_def("two_steps")
