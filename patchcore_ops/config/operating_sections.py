"""The sections that change no result: what the machine does, where, when, and what is doubted."""

from __future__ import annotations

from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from patchcore_ops.config.setting_types import Name, Number, Section

Verdict = Literal["fail", "warn", "ignore"]


class RuntimeSection(Section):
    """What the machine does; nothing here can change a result beyond rounding.

    Attributes
    ----------
    device : str
        `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:<n>` or `mps`, on which the
        coreset is computed on the CPU.
    engine : "auto", "openvino" or "torch"
        What computes embeddings: `auto` is OpenVINO on a CPU and torch on a GPU.
    batch_size : int
        Images that are embedded at once, which bounds the memory: by torch in one pass, by OpenVINO
        one in a thread, in as many threads as there are processors and 16 at most (a machine with
        more than 8 processors embeds faster with 16). The embeddings of two more images, or passes
        of torch, wait to be written.
    num_workers : int
        Threads that decode images; 0 decodes in the caller's thread.
    faiss_on_gpu : bool
        Search on the GPU; needs the `gpu` extra.
    faiss_num_workers : int
        Threads of a FAISS search on the CPU.
    certified_search : bool
        Search flat indices by bounds, verified up to rounding, instead of scanning everything.
    save_segmentation_images : bool
        Keep a picture (image, ground truth, heat map) of every test image.
    """

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")
    engine: Literal["auto", "openvino", "torch"] = "auto"
    batch_size: int = Field(8, ge=1, le=4096)
    num_workers: int = Field(2, ge=0, le=256)
    faiss_on_gpu: bool = False
    faiss_num_workers: int = Field(4, ge=1, le=1024)
    certified_search: bool = True
    save_segmentation_images: bool = False

    @model_validator(mode="after")
    def _engine_suits_device(self) -> Self:
        if self.engine == "openvino" and self.device not in ("auto", "cpu"):
            raise ValueError(
                f"engine: openvino computes on the CPU, not on '{self.device}'; set device: cpu, "
                "or engine: torch"
            )
        return self


class StorageSection(Section):
    """Where artefacts are kept; nothing here can change a result.

    Attributes
    ----------
    root : str
        A folder, or any URL that fsspec understands, without credentials in it.
    cache : str or None
        For a URL: the folder on this machine in which files stay between steps. None means the
        user's cache folder.
    cache_gb : float
        How much stays there, in gigabytes.
    """

    root: Name = "storage"
    cache: Name | None = None
    cache_gb: Number = Field(10.0, ge=0, le=1_000_000)


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

    minimum_train_images: int = Field(20, ge=1, le=1_000_000)
    minimum_test_images: int = Field(10, ge=1, le=1_000_000)
    regression: Verdict = "fail"
    regression_tolerance: Number = Field(0.01, ge=0, le=1)
    published: Verdict = "warn"
    published_tolerance: Number = Field(0.01, ge=0, le=1)
    confidence: Number = Field(0.95, gt=0, lt=1)
