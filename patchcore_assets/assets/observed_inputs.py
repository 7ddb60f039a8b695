"""The inputs as observable source assets: the UI's button `Observe` reports all versions anew."""

import warnings

import dagster as dg

from patchcore_assets.assets.by_category import categories
from patchcore_assets.inputs.launched import read_as_launched
from patchcore_assets.inputs.recording import file_hashes
from patchcore_assets.inputs.versions import ObservedInput, inputs_of
from patchcore_assets.step.failures import plain_failures
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig

GROUP = "inputs"


def observed_inputs(config: BenchmarkConfig) -> list[dg.SourceAsset]:
    """Declare every input as an observable source asset, partitioned by category."""
    return [_observable(observed, categories(config)) for observed in inputs_of(config)]


def _observable(
    observed: ObservedInput, partitions: dg.PartitionsDefinition[str]
) -> dg.SourceAsset:
    def observe(context: dg.OpExecutionContext, benchmark: Benchmark) -> dg.DataVersionsByPartition:
        with plain_failures(), warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            config = read_as_launched(context.instance, context.run, benchmark.config_path)
            versions = {}
            for category in config.categories:
                with file_hashes(context.instance, config, category) as hash_of:
                    versions[category] = observed.version_of(config, category, hash_of)
            return dg.DataVersionsByPartition(versions)

    return dg.observable_source_asset(
        key=observed.key,
        description=observed.description,
        group_name=GROUP,
        partitions_def=partitions,
        tags={"dagster/kind/" + observed.kind: ""},
    )(observe)
