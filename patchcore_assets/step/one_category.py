"""A run makes one category; a request for several is refused with the command to use."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import dagster as dg

from patchcore_assets.partitions import Partition
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import ConfigError

# With it, the UI does not offer to make several categories in a single run. Each artefact has a
# version, checks and figures of its own, which Dagster cannot report of a run over several.
ONE_CATEGORY_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)


def partition_of_step(context: dg.AssetExecutionContext, config: BenchmarkConfig) -> Partition:
    """Return the partition of a step."""
    if context.assets_def.partitions_def is None:
        return Partition(None)
    asset = context.asset_key.to_user_string()
    if not (context.has_partition_key or context.has_partition_key_range):
        raise ConfigError(f"{asset}: this run has no category; give one, with --partition")
    keys = context.partition_keys
    if len(keys) > 1:
        raise ConfigError(f"{asset}: {_several(keys, config)}")
    [key] = keys
    return Partition.of(key)


def refuse_partition_range(config: BenchmarkConfig) -> None:
    """Refuse the option --partition-range of Dagster's commands, which makes one run."""
    import click

    command = click.get_current_context(silent=True)
    asked = None if command is None else command.params.get("partition_range")
    if asked:
        raise ConfigError(f"--partition-range {asked}: {_several(_range(asked, config), config)}")


def _range(asked: str, config: BenchmarkConfig) -> Sequence[str]:
    """Return the categories of a range as Dagster writes it, or all if it is malformed."""
    every = list(config.categories)
    first, _, last = asked.partition("...")
    if first in every and last in every:
        return every[every.index(first) : every.index(last) + 1]
    return every


def _several(categories: Sequence[str], config: BenchmarkConfig) -> str:
    command = shlex.join(["patchcore", "benchmark", "--config", config.path, *categories])
    return (
        f"a run makes one category; type `{command}`, or choose the categories in the UI, which "
        "starts a run for each"
    )
