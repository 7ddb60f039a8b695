"""The observed inputs: image folders and configuration sections, versioned by category.

An input's version says all that can change a result: the files of the folder, or a category's
resolved section. What cannot change a result (device, batch size, workers, storage) is in none.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from patchcore_assets.benchmark import Benchmark, plain_failures
from patchcore_ops.config import BenchmarkConfig, section_hash
from patchcore_ops.manifest import file_hash, folder_version

GROUP = "inputs"
IMAGES = dg.AssetKey("images")
EMBEDDING_CONFIG = dg.AssetKey("embedding_config")
CORESET_CONFIG = dg.AssetKey("coreset_config")
INDEX_CONFIG = dg.AssetKey("index_config")
SCORING_CONFIG = dg.AssetKey("scoring_config")
METRICS_CONFIG = dg.AssetKey("metrics_config")

VersionOf = Callable[[BenchmarkConfig, str], str]


@dataclass(frozen=True)
class ObservedInput:
    """One input: its key, what it is, and its version for a category."""

    key: dg.AssetKey
    description: str
    kind: str
    version_of: VersionOf


def _images_version(config: BenchmarkConfig, category: str) -> str:
    return folder_version(config.dataset_root, category)


def _embedding_version(config: BenchmarkConfig, category: str) -> str:
    settings = config.for_category(category)
    weights = {
        member.weights: file_hash(Path(member.weights))
        for member in settings.embedding.members
        if member.weights is not None and Path(member.weights).is_file()
    }
    return section_hash(settings.dataset, settings.embedding, extra=weights)


def _section_version(section: str) -> VersionOf:
    def version(config: BenchmarkConfig, category: str) -> str:
        return section_hash(getattr(config.for_category(category), section))

    return version


INPUTS = (
    ObservedInput(
        IMAGES,
        "The category's folder of images and masks. Its version is a hash of all file names and "
        "contents: a touched file changes nothing, a changed one does.",
        "image",
        _images_version,
    ),
    ObservedInput(
        EMBEDDING_CONFIG,
        "The resolved `embedding` section with `dataset.resize`, `dataset.imagesize` and the "
        "content of local weights files.",
        "yaml",
        _embedding_version,
    ),
    ObservedInput(
        CORESET_CONFIG,
        "The resolved `coreset` section: sampler, percentage, projection and seed.",
        "yaml",
        _section_version("coreset"),
    ),
    ObservedInput(
        INDEX_CONFIG,
        "The resolved `index` section: the FAISS factory string.",
        "yaml",
        _section_version("index"),
    ),
    ObservedInput(
        SCORING_CONFIG,
        "The resolved `scoring` section: neighbours per patch and smoothing.",
        "yaml",
        _section_version("scoring"),
    ),
    ObservedInput(
        METRICS_CONFIG,
        "The resolved `metrics` section: AUPRO's limit and how masks become binary.",
        "yaml",
        _section_version("metrics"),
    ),
)


def observed_inputs(partitions: dg.PartitionsDefinition[str]) -> list[dg.SourceAsset]:
    """Declare every input as an observable source asset, partitioned by category."""
    with _beta_is_known():
        return [_observable(observed, partitions) for observed in INPUTS]


def versions_of(config: BenchmarkConfig, observed: ObservedInput) -> Mapping[str, str]:
    """Return the version that an input has now, for each category."""
    return {category: observed.version_of(config, category) for category in config.categories}


@contextmanager
def _beta_is_known() -> Iterator[None]:
    """Silence the one warning that observable source assets are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield


def _observable(
    observed: ObservedInput, partitions: dg.PartitionsDefinition[str]
) -> dg.SourceAsset:
    def observe(benchmark: Benchmark) -> dg.DataVersionsByPartition:
        with plain_failures(), _beta_is_known():
            return dg.DataVersionsByPartition(dict(versions_of(benchmark.config(), observed)))

    return dg.observable_source_asset(
        key=observed.key,
        description=observed.description,
        group_name=GROUP,
        partitions_def=partitions,
        tags={"dagster/kind/" + observed.kind: ""},
    )(observe)
