"""The typed sections of the configuration, with their limits and defaults.

The defaults are the published baseline: WideResNet-50 at 224 px with a 10 % coreset.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from patchcore_ops.config.image_size import Fit as Fit  # noqa: PLC0414 - API
from patchcore_ops.config.image_size import ImageSize as ImageSize  # noqa: PLC0414
from patchcore_ops.config.operating_sections import ChecksSection as ChecksSection  # noqa: PLC0414 - API
from patchcore_ops.config.operating_sections import EvaluationSection as EvaluationSection  # noqa: PLC0414
from patchcore_ops.config.operating_sections import InboxSection as InboxSection  # noqa: PLC0414
from patchcore_ops.config.operating_sections import RuntimeSection as RuntimeSection  # noqa: PLC0414
from patchcore_ops.config.operating_sections import ScheduleSection as ScheduleSection  # noqa: PLC0414
from patchcore_ops.config.operating_sections import StorageSection as StorageSection  # noqa: PLC0414
from patchcore_ops.config.operating_sections import TrackerSection as TrackerSection  # noqa: PLC0414
from patchcore_ops.config.presets import Preset
from patchcore_ops.config.setting_types import (
    FactoryString,
    Name,
    Number,
    SearchParameters,
    Section,
)

Precision = Literal["float32", "bfloat16"]
StoredPrecision = Literal["float32", "float16"]
Distance = Literal["squared", "root"]
ImageScore = Literal["max", "smoothed_max", "top_share"]
Ensemble = Literal["min_max", "leave_one_out"]
Sampler = Literal["identity", "random", "greedy_coreset", "approx_greedy_coreset"]


class DatasetSection(ImageSize):
    """Where the images are.

    Attributes
    ----------
    root : str
        Folder that holds one folder per category.
    layout : "mvtec"
        `train/good`, `test/<defect>` and `ground_truth/<defect>` below each category.
    categories : "mvtec", "discover" or a list of names
        MVTec AD's fifteen, every folder below `root` that has a `train` folder, or exactly these.
    """

    root: Name = "data/mvtec"
    layout: Literal["mvtec"] = "mvtec"
    categories: Literal["mvtec", "discover"] | list[Name] = "mvtec"


class EmbeddingMember(Section):
    """One backbone and the layers that its embeddings are made of.

    Attributes
    ----------
    backbone : str
        A timm name, one of the reference's names, or `efficientnet_lite0` (weights from pip).
    layers : list of str
        Module names, dotted where nested. The first sets the patch grid.
    weights : str or None
        A local file with a state dict (`.pth` or `.safetensors`), relative to the configuration;
        None means the published weights. Its content counts in versions, not its place.
    """

    backbone: Name = "wide_resnet50_2.tv_in1k"
    layers: list[Name] = Field(default=["layer2", "layer3"], min_length=1)
    weights: Name | None = None

    @field_validator("layers")
    @classmethod
    def _layers_differ(cls, layers: list[str]) -> list[str]:
        if len(set(layers)) != len(layers):
            raise ValueError(f"lists one layer twice: {', '.join(layers)[:200]}")
        return layers


class EmbeddingSection(Section):
    """How images become patch embeddings; more than one member makes an ensemble.

    Attributes
    ----------
    members : list of EmbeddingMember
    pretrain_embed_dimension : int
        Dimension to which each layer's patch is pooled.
    target_embed_dimension : int
        Dimension of an embedding. Where either dimension is larger than what there is to pool,
        values are repeated, as the reference's adaptive pooling does.
    patchsize : int
        Side of the neighbourhood that a patch aggregates, in cells of its layer; odd.
    precision : "float32" or "bfloat16"
        Number format of the backbone's computation. bfloat16 is quicker on hardware that has it
        and moves the metrics a little; see docs/performance.md.
    storage : "float32" or "float16"
        Number format in which `raw_embeddings` keeps the embeddings. float16 takes half the space
        and rounds each value by up to 0.05 %; see docs/performance.md.
    """

    members: list[EmbeddingMember] = Field(default=[EmbeddingMember()], min_length=1)
    pretrain_embed_dimension: int = Field(1024, ge=1, le=65536)
    target_embed_dimension: int = Field(1024, ge=1, le=65536)
    patchsize: int = Field(3, ge=1, le=31)
    precision: Precision = "float32"
    storage: StoredPrecision = "float32"

    @field_validator("patchsize")
    @classmethod
    def _patchsize_is_odd(cls, patchsize: int) -> int:
        if patchsize % 2 == 0:
            raise ValueError(f"must be odd, so that a patch has a centre (got {patchsize})")
        return patchsize


class CoresetSection(Section):
    """Which embeddings the memory bank keeps.

    Attributes
    ----------
    sampler : str
        `identity`, `random`, `greedy_coreset` or `approx_greedy_coreset`.
    percentage : float
        Share of the rows that is kept, in (0, 1].
    projection_dimension : int
        Dimension of the random projection in which the greedy samplers measure distances. It may
        be larger than an embedding's, as in the reference, but that only costs time.
    number_of_starting_points : int
        Random rows whose mean distance initialises `approx_greedy_coreset`; all rows where there
        are fewer, as in the reference.
    seed : int
        Seeds the projection, the starting points and the random sampler.
    shards : int
        The greedy samplers pick inside so many ranges of train images, each by itself, and the
        bank is the union: less time and memory for large categories; see docs/performance.md.
    """

    sampler: Sampler = "approx_greedy_coreset"
    percentage: Number = Field(0.1, gt=0, le=1)
    projection_dimension: int = Field(128, ge=1, le=65536)
    number_of_starting_points: int = Field(10, ge=1, le=1_000_000)
    seed: int = Field(0, ge=0, lt=2**63)
    shards: int = Field(1, ge=1, le=100_000)

    @field_validator("shards")
    @classmethod
    def _sampler_has_shards(cls, shards: int, info: ValidationInfo) -> int:
        sampler = info.data.get("sampler")
        if shards > 1 and sampler in ("identity", "random"):
            raise ValueError(f"must be 1 for sampler: {sampler}, which gains nothing by shards")
        return shards


class IndexSection(Section):
    """The FAISS index over the memory bank.

    Attributes
    ----------
    factory : str
        A FAISS factory string; `Flat` is exact. `IVFauto,Flat` is an inverted file whose lists
        are counted by the bank's rows.
    search_parameters : str
        What FAISS's ParameterSpace understands, such as `nprobe=16` or `k_factor_rf=16`.
    """

    factory: FactoryString = "Flat"
    search_parameters: SearchParameters = ""


class ScoringSection(Section):
    """How distances become scores.

    Attributes
    ----------
    anomaly_scorer_num_nn : int
        A patch's score is the mean over this many nearest neighbours.
    distance : "squared" or "root"
        The reference averages squared Euclidean distances; `root` averages the distances.
    smoothing_sigma : float
        Standard deviation of the Gaussian that smooths anomaly maps, in pixels; 0 for none.
    image_score : "max", "smoothed_max" or "top_share"
        The greatest patch score, as the reference has it; the greatest value of the map smoothed
        by `image_smoothing_sigma`; or the mean of the greatest patch scores.
    image_smoothing_sigma : float
        For `smoothed_max`, in pixels.
    image_top_share : float
        For `top_share`: of the patches, at least one.
    ensemble : "min_max" or "leave_one_out"
        How several members become one. `min_max` averages image scores and maps, scaled to [0, 1]
        over the test images, as the reference does; `leave_one_out` averages patch scores, divided
        by the member's mean over train images that are scored without their own patches.
    """

    anomaly_scorer_num_nn: int = Field(1, ge=1, le=65536)
    distance: Distance = "squared"
    smoothing_sigma: Number = Field(4.0, ge=0, le=1000)
    image_score: ImageScore = "max"
    image_smoothing_sigma: Number = Field(8.0, ge=0, le=1000)
    image_top_share: Number = Field(0.01, gt=0, le=1)
    ensemble: Ensemble = "min_max"


class CalibrationSection(Section):
    """What counts as anomalous, judged by the scores of normal images.

    Attributes
    ----------
    images : int
        So many train images are scored at most, drawn with `coreset.seed`.
    false_positive_rate : float
        Share of normal images that may be called anomalous.
    """

    images: int = Field(200, ge=1, le=1_000_000)
    false_positive_rate: Number = Field(0.01, gt=0, lt=1)


class MetricsSection(Section):
    """How predictions are judged.

    Attributes
    ----------
    aupro_fpr_limit : float
        False-positive rate up to which the per-region overlap is integrated.
    mask_threshold : float
        A mask pixel is anomalous from this share of white on, after resizing.
    reference_masks : bool
        Whether the pixel metrics that the reference prints too (`full_pixel_auroc` and
        `anomaly_pixel_auroc`) use its masks, in which only fully white pixels are anomalous.
        It moves them by about 0.003; false judges every metric by `mask_threshold`. So is a
        category in which no pixel of an image's defect would be anomalous.
    """

    aupro_fpr_limit: Number = Field(0.3, gt=0, le=1)
    mask_threshold: Number = Field(0.5, gt=0, le=1)
    reference_masks: bool = True


class CategoryConfig(Section):
    """The sections that concern one category, with its overrides applied.

    All but `checks` can change its results.
    """

    dataset: ImageSize = ImageSize()
    embedding: EmbeddingSection = EmbeddingSection()
    coreset: CoresetSection = CoresetSection()
    index: IndexSection = IndexSection()
    scoring: ScoringSection = ScoringSection()
    calibration: CalibrationSection = CalibrationSection()
    metrics: MetricsSection = MetricsSection()
    checks: ChecksSection = ChecksSection()

    @property
    def members_have_units(self) -> bool:
        """Whether members are scaled by units, see `scoring.ensemble`; one member needs none."""
        return self.scoring.ensemble == "leave_one_out" and len(self.embedding.members) > 1


class ConfigFile(CategoryConfig):
    """A configuration file as written: every section, and raw overrides by category.

    `preset` names settings for what is not written.
    """

    preset: Preset = "reference"
    dataset: DatasetSection = DatasetSection()
    runtime: RuntimeSection = RuntimeSection()
    storage: StorageSection = StorageSection()
    schedule: ScheduleSection = ScheduleSection()
    tracking: list[TrackerSection] = Field(default=[])
    evaluation: EvaluationSection = EvaluationSection()
    inbox: InboxSection = InboxSection()
    overrides: dict[str, dict[str, dict[str, Any]]] = Field(default={})
