"""The inputs: image folders and configuration sections, and the version of each by category.

A version covers all that can change a result: the files of the folder, or the resolved section.
Device, batch size, workers and storage are in none. It depends on content alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from patchcore_ops.config.load import BenchmarkConfig, section_hash
from patchcore_ops.model.folder import MODEL
from patchcore_ops.runtime.errors import WeightsError
from patchcore_ops.runtime.fingerprints import ABSENT, HashOf, folder_version

IMAGES = dg.AssetKey("images")
EMBEDDING_CONFIG = dg.AssetKey("embedding_config")
CORESET_CONFIG = dg.AssetKey("coreset_config")
INDEX_CONFIG = dg.AssetKey("index_config")
SCORING_CONFIG = dg.AssetKey("scoring_config")
CALIBRATION_CONFIG = dg.AssetKey("calibration_config")
METRICS_CONFIG = dg.AssetKey("metrics_config")
EVALUATED = dg.AssetKey("evaluated")

VersionOf = Callable[[BenchmarkConfig, str, HashOf], str]


@dataclass(frozen=True)
class ObservedInput:
    """One input: its key, description and kind, and its version for a category.

    Artefacts that depend on it record its `sections` of the configuration. `version_of` raises a
    `UserError` if there is no version.
    """

    key: dg.AssetKey
    description: str
    kind: str
    sections: tuple[str, ...]
    version_of: VersionOf


def _images_version(config: BenchmarkConfig, category: str, hash_of: HashOf) -> str:
    return folder_version(config.dataset_root, category, hash_of)


def _embedding_version(config: BenchmarkConfig, category: str, hash_of: HashOf) -> str:
    settings = config.for_category(category)
    embedding = settings.embedding
    contents = {
        f"members.{position}.weights": _weights_version(Path(member.weights), hash_of)
        for position, member in enumerate(embedding.members)
        if member.weights is not None
    }
    # The content counts, not the place: weights that were moved are still the same.
    members = [member.model_copy(update={"weights": None}) for member in embedding.members]
    anywhere = embedding.model_copy(update={"members": members})
    return section_hash(settings.dataset, anywhere, extra=contents)


def _weights_version(file: Path, hash_of: HashOf) -> str:
    try:
        return hash_of(file) if file.is_file() else ABSENT
    except OSError as error:
        raise WeightsError(
            f"{file}: cannot be read ({error.strerror or error}); make it readable"
        ) from None


def _section(key: dg.AssetKey, section: str, content: str) -> ObservedInput:
    """Return the input that is one section of the configuration."""

    def version(config: BenchmarkConfig, category: str, _hash_of: HashOf) -> str:
        return section_hash(getattr(config.for_category(category), section))

    described = f"The resolved `{section}` section: {content}."
    return ObservedInput(key, described, "yaml", (section,), version)


def _evaluated_version(config: BenchmarkConfig, category: str, hash_of: HashOf) -> str:
    evaluated = config.evaluation
    if evaluated is None:
        return ABSENT
    images = folder_version(evaluated.dataset_root, category, hash_of)
    if evaluated.models is None or images == ABSENT:
        return images
    model = evaluated.models / category / MODEL
    of_model = hash_of(model) if model.is_file() else ABSENT
    return section_hash(extra={"test": images, MODEL: of_model})


INPUTS = (
    ObservedInput(
        IMAGES,
        "The category's folder of images and masks. Its version is a hash of all file names and "
        "contents: a touched file changes nothing, a changed one does.",
        "image",
        (),
        _images_version,
    ),
    ObservedInput(
        EMBEDDING_CONFIG,
        "The resolved `embedding` section with `dataset.fit`, `resize`, `imagesize` and the "
        "content of local weights files.",
        "yaml",
        ("dataset", "embedding"),
        _embedding_version,
    ),
    _section(CORESET_CONFIG, "coreset", "sampler, percentage, projection and seed"),
    _section(INDEX_CONFIG, "index", "the FAISS factory string"),
    _section(SCORING_CONFIG, "scoring", "neighbours per patch and smoothing"),
    _section(
        CALIBRATION_CONFIG,
        "calibration",
        "how many normal images are scored, and the share of false positives that is asked for",
    ),
    _section(METRICS_CONFIG, "metrics", "AUPRO's limit and how masks become binary"),
)
# Only there if something is evaluated again.
EVALUATED_INPUT = ObservedInput(
    EVALUATED,
    "The category's folder below `evaluation.dataset`, and the model below `evaluation.models`, if "
    "it is another benchmark's.",
    "image",
    (),
    _evaluated_version,
)


def inputs_of(config: BenchmarkConfig) -> tuple[ObservedInput, ...]:
    """Return the inputs that a configuration has."""
    return INPUTS if config.evaluation is None else (*INPUTS, EVALUATED_INPUT)
