"""What `model.json` says: all that one needs to apply a model, and the files that belong to it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from patchcore_ops.calibration import Calibration
from patchcore_ops.config.sections import (
    CategoryConfig,
    Distance,
    Ensemble,
    Fit,
    ImageScore,
    ImageSize,
    Precision,
    ScoringSection,
    StoredPrecision,
)
from patchcore_ops.runtime.errors import UserError
from patchcore_ops.scoring.ensemble import UNSCALED, MemberScales
from patchcore_ops.scoring.maps import Range

FORMAT: Final = 2

RangesOf = Literal["", "test images", "train images", "normal images"]


class ModelError(UserError):
    """A model's folder is not what was written, or cannot be used here."""


class Part(BaseModel):
    """A part of what is kept: frozen, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Part):
    """From a file to the network's input: uint8, shape [1, height, width, 3].

    `fit`, `resize` and `imagesize` are those of `ImageSize`. Normalisation is part of the network.
    """

    colour: Literal["RGB"] = "RGB"
    resampling: Literal["bilinear, antialiased"] = "bilinear, antialiased"
    fit: Fit
    resize: int | tuple[int, int]
    imagesize: int | tuple[int, int]
    max_pixels: int


class Embedding(Part):
    """How the network's feature maps become embeddings; done inside the exported network.

    Then they are rounded to `storage`, as those are with which the scores of normal images and of
    the sample were computed.
    """

    pretrain_embed_dimension: int
    target_embed_dimension: int
    patchsize: int
    precision: Precision
    # Models keep the bytes that they had before there was `storage`, and their version.
    storage: StoredPrecision = Field("float32", exclude_if=lambda storage: storage == "float32")


class Member(Part):
    """One ensemble member, whose files lie in the sub-folder of its number.

    `network` is the identity of the exported network; without one, torch runs the backbone with
    the weights in the folder. Before members are averaged, `score_range` and `map_range` become
    [0, 1], or patch scores are divided by `unit`; a model of one member has none of these.
    """

    backbone: str
    layers: tuple[str, ...]
    weights_sha256: str
    network: str
    grid: tuple[int, int]
    bank_rows: int
    score_range: Range | None = None
    map_range: Range | None = None
    unit: float | None = Field(None, gt=0)


class Scoring(Part):
    """From embeddings to scores: distances to the nearest rows of the bank, and maps.

    `ranges_of` says over which images the members' ranges were taken.
    """

    anomaly_scorer_num_nn: int
    distance: Distance
    smoothing_sigma: float
    image_score: ImageScore
    image_smoothing_sigma: float
    image_top_share: float
    ensemble: Ensemble = "min_max"
    index_factory: str
    search_parameters: str
    ranges_of: RangesOf = ""


def _stays_inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name or "\\" in name:
        raise ValueError("leads out of the folder")
    return name


FileName = Annotated[str, AfterValidator(_stays_inside)]


class Sample(Part):
    """An image of the benchmark, and the score that it must give wherever the model is used."""

    file: FileName
    path: str
    score: float


class FileRecord(Part):
    """A file of the model: its size and SHA-256."""

    bytes: int
    sha256: str


class ModelDraft(Part):
    """A model before its files are known."""

    category: str
    preprocessing: Preprocessing
    embedding: Embedding
    members: tuple[Member, ...] = Field(min_length=1)
    scoring: Scoring
    calibration: Calibration | None = None
    sample: Sample | None = None
    provenance: dict[str, str] = {}


class ModelDescription(ModelDraft):
    """The content of `model.json`; `sha256` is its checksum, which names the model's version."""

    format: Literal[2] = FORMAT
    sha256: str = Field("", exclude=True)
    files: dict[FileName, FileRecord]

    @property
    def scoring_section(self) -> ScoringSection:
        """How distances become scores, as the configuration says it."""
        return ScoringSection(**self.scoring.model_dump(include=set(ScoringSection.model_fields)))

    @property
    def units(self) -> tuple[float, ...]:
        """The members' units; empty if they are not scaled by units."""
        return tuple(one.unit for one in self.members if one.unit is not None)

    @property
    def scales(self) -> MemberScales | None:
        """What the members are scaled by; None where ranges are unknown, or those of scores empty.

        All are empty over a single image, and every image would have the score 0 by them.
        """
        if len(self.members) == 1:
            return UNSCALED
        if self.units:
            return MemberScales.by_units(self.units)
        scores = tuple(one.score_range for one in self.members if one.score_range is not None)
        maps = tuple(one.map_range for one in self.members if one.map_range is not None)
        is_known = len(scores) == len(maps) == len(self.members)
        if is_known and any(low < high for low, high in scores):
            return MemberScales(scores=scores, maps=maps)
        return None

    @property
    def image_size(self) -> ImageSize:
        """Resize and crop, as `dataset.load_image` takes them."""
        return ImageSize(**self.preprocessing.model_dump(include=set(ImageSize.model_fields)))


def draft_of(
    category: str,
    config: CategoryConfig,
    members: tuple[Member, ...],
    ranges_of: RangesOf,
    provenance: dict[str, str],
    calibration: Calibration | None = None,
    sample: Sample | None = None,
) -> ModelDraft:
    """Describe a model that is made with the settings of a category."""
    return ModelDraft(
        category=category,
        preprocessing=Preprocessing(
            fit=config.dataset.fit,
            resize=config.dataset.resize,
            imagesize=config.dataset.sides,
            max_pixels=config.dataset.max_pixels,
        ),
        embedding=Embedding(**config.embedding.model_dump(include=set(Embedding.model_fields))),
        members=members,
        scoring=Scoring(
            **config.scoring.model_dump(),
            index_factory=config.index.factory,
            search_parameters=config.index.search_parameters,
            ranges_of=ranges_of,
        ),
        calibration=calibration,
        sample=sample,
        provenance=provenance,
    )
