"""The typed sections of the configuration, with their limits and defaults.

The defaults are the published baseline: WideResNet-50 at 224 px with a 10 % coreset. Unknown keys,
wrong types and values out of range are refused by every section.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Precision = Literal["float32", "bfloat16"]
Verdict = Literal["fail", "warn", "ignore"]
Sampler = Literal["identity", "random", "greedy_coreset", "approx_greedy_coreset"]


class Section(BaseModel):
    """A part of the configuration: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class ImageSize(Section):
    """How an image becomes the network's input.

    Attributes
    ----------
    resize : int
        Length of the shorter side after resizing, in pixels.
    imagesize : int
        Side of the centred square that is cropped from it, in pixels.
    """

    resize: int = Field(256, ge=8, le=4096)
    imagesize: int = Field(224, ge=8, le=4096)

    @model_validator(mode="after")
    def _crop_fits(self) -> ImageSize:
        if self.imagesize > self.resize:
            raise ValueError(
                f"imagesize ({self.imagesize}) must not exceed resize ({self.resize}), "
                "or the crop would be padded with black"
            )
        return self


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
        A local `.pth` state dict or `.safetensors` file; None means the published weights.
    """

    backbone: Name = "wide_resnet50_2.tv_in1k"
    layers: list[Name] = Field(default=["layer2", "layer3"], min_length=1)
    weights: Name | None = None

    @model_validator(mode="after")
    def _layers_differ(self) -> EmbeddingMember:
        if len(set(self.layers)) != len(self.layers):
            raise ValueError(f"layers lists one layer twice: {self.layers}")
        return self


class EmbeddingSection(Section):
    """How images become patch embeddings; more than one member makes an ensemble.

    Attributes
    ----------
    members : list of EmbeddingMember
    pretrain_embed_dimension : int
        Dimension to which each layer's patch is pooled.
    target_embed_dimension : int
        Dimension of an embedding.
    patchsize : int
        Side of the neighbourhood that a patch aggregates, in cells of its layer; odd.
    precision : "float32" or "bfloat16"
        Number format of the backbone's computation. bfloat16 is quicker on hardware that has it
        and moves the metrics a little; see docs/performance.md.
    """

    members: list[EmbeddingMember] = Field(default=[EmbeddingMember()], min_length=1)
    pretrain_embed_dimension: int = Field(1024, ge=1, le=65536)
    target_embed_dimension: int = Field(1024, ge=1, le=65536)
    patchsize: int = Field(3, ge=1, le=31)
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _patchsize_is_odd(self) -> EmbeddingSection:
        if self.patchsize % 2 == 0:
            raise ValueError(
                f"patchsize must be odd, so that a patch has a centre (got {self.patchsize})"
            )
        return self


class CoresetSection(Section):
    """Which embeddings the memory bank keeps.

    Attributes
    ----------
    sampler : str
        `identity`, `random`, `greedy_coreset` or `approx_greedy_coreset`.
    percentage : float
        Share of the rows that is kept, in (0, 1].
    projection_dimension : int
        Dimension of the random projection in which the greedy samplers measure distances.
    number_of_starting_points : int
        Random rows whose mean distance initialises `approx_greedy_coreset`.
    seed : int
        Seeds the projection, the starting points and the random sampler.
    """

    sampler: Sampler = "approx_greedy_coreset"
    percentage: float = Field(0.1, gt=0, le=1)
    projection_dimension: int = Field(128, ge=1, le=65536)
    number_of_starting_points: int = Field(10, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)


class IndexSection(Section):
    """The FAISS index over the memory bank.

    Attributes
    ----------
    factory : str
        A FAISS factory string; `Flat` is exact.
    search_parameters : str
        What FAISS's ParameterSpace understands, such as `nprobe=16` or `k_factor_rf=16`.
    """

    factory: Name = "Flat"
    search_parameters: str = ""


class ScoringSection(Section):
    """How distances become scores.

    Attributes
    ----------
    anomaly_scorer_num_nn : int
        A patch's score is the mean over this many nearest neighbours.
    smoothing_sigma : float
        Standard deviation of the Gaussian that smooths anomaly maps, in pixels; 0 for none.
    """

    anomaly_scorer_num_nn: int = Field(1, ge=1)
    smoothing_sigma: float = Field(4.0, ge=0, le=1000)


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
        It moves them by about 0.003; false judges every metric by `mask_threshold`.
    """

    aupro_fpr_limit: float = Field(0.3, gt=0, le=1)
    mask_threshold: float = Field(0.5, gt=0, le=1)
    reference_masks: bool = True


class RuntimeSection(Section):
    """What the machine does; nothing here can change a result beyond rounding.

    Attributes
    ----------
    device : str
        `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:<n>` or `mps`.
    batch_size : int
        Images per forward pass.
    num_workers : int
        Threads that decode images; 0 decodes in the caller's thread.
    faiss_on_gpu : bool
        Search on the GPU; needs the `gpu` extra.
    faiss_num_workers : int
        Threads of a FAISS search on the CPU.
    certified_search : bool
        Search flat indices by bounds that prove the result instead of scanning everything.
    save_segmentation_images : bool
        Keep a picture (image, ground truth, heat map) of every test image.
    """

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    batch_size: int = Field(8, ge=1, le=4096)
    num_workers: int = Field(2, ge=0, le=256)
    faiss_on_gpu: bool = False
    faiss_num_workers: int = Field(4, ge=1, le=1024)
    certified_search: bool = True
    save_segmentation_images: bool = False


class StorageSection(Section):
    """Where artefacts are kept: a folder, or any URL that fsspec understands."""

    root: Name = "storage"


class ScheduleSection(Section):
    """When the benchmark runs by itself, once it has been turned on in Dagster.

    Attributes
    ----------
    cron : str
        When every category is benchmarked anew: minute, hour, day, month, weekday.
    timezone : str
        The time zone of `cron`, by its IANA name.
    seconds_between_looks : int
        How often the sensors look for changed inputs, stale assets and finished waves.
    """

    cron: Name = "0 3 * * 0"
    timezone: Name = "UTC"
    seconds_between_looks: int = Field(30, ge=1, le=86400)

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"must be a time zone by its IANA name, such as 'Europe/Berlin' (got {name!r})"
            ) from None
        return name


class ChecksSection(Section):
    """When a result, or the images it comes from, is called into question; it changes none.

    Attributes
    ----------
    minimum_train_images, minimum_test_images : int
        With fewer, a warning is shown.
    regression : "fail", "warn" or "ignore"
        What it means when metrics are worse than those of the previous materialisation.
    regression_tolerance : float
        How much lower an AUROC or AUPRO may be.
    published : "fail", "warn" or "ignore"
        What it means when metrics are worse than the published ones, where those were measured
        with this configuration.
    published_tolerance : float
        How much lower they may be.
    confidence : float
        Confidence level of the intervals by which a drop is told from noise.
    """

    minimum_train_images: int = Field(20, ge=1)
    minimum_test_images: int = Field(10, ge=1)
    regression: Verdict = "fail"
    regression_tolerance: float = Field(0.01, ge=0, le=1)
    published: Verdict = "warn"
    published_tolerance: float = Field(0.01, ge=0, le=1)
    confidence: float = Field(0.95, gt=0, lt=1)


class CategoryConfig(Section):
    """The sections that concern one category, with its overrides applied.

    All but `checks` can change its results.
    """

    dataset: ImageSize = ImageSize()
    embedding: EmbeddingSection = EmbeddingSection()
    coreset: CoresetSection = CoresetSection()
    index: IndexSection = IndexSection()
    scoring: ScoringSection = ScoringSection()
    metrics: MetricsSection = MetricsSection()
    checks: ChecksSection = ChecksSection()


class ConfigFile(CategoryConfig):
    """A configuration file as written: every section, and raw overrides by category."""

    dataset: DatasetSection = DatasetSection()
    runtime: RuntimeSection = RuntimeSection()
    storage: StorageSection = StorageSection()
    schedule: ScheduleSection = ScheduleSection()
    overrides: dict[str, dict[str, dict[str, Any]]] = {}
