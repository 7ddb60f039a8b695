"""Sections that change no result: machine, storage, schedule and checks."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from patchcore_ops.config.addresses import CREDENTIALS_OF_SERVER, is_plain_address
from patchcore_ops.config.setting_types import Name, Number, Section

Verdict = Literal["fail", "warn", "ignore"]


class RuntimeSection(Section):
    """What the machine does; changes results by rounding at most.

    `batch_size` bounds the memory: torch embeds a batch in one pass, OpenVINO one image a thread.
    `certified_search` searches flat indices by bounds, verified up to rounding. More images of a
    category than `images_per_shard` are embedded and searched in shards, which are kept as they
    are done; `shards_on: auto` shares them with the nodes of a Ray cluster, if the run is on one.
    `pool` is that of embedding and selection; `auto` looks for a GPU where the definitions load.
    `recompute` computes also what would come out as it did before, instead of taking it over.
    """

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")
    engine: Literal["auto", "openvino", "torch"] = "auto"
    batch_size: int = Field(8, ge=1, le=4096)
    num_workers: int = Field(2, ge=0, le=256)
    faiss_on_gpu: bool = False
    faiss_num_workers: int = Field(4, ge=1, le=1024)
    certified_search: bool = True
    save_segmentation_images: bool = False
    images_per_shard: int = Field(1000, ge=1, le=1_000_000)
    shards_on: Literal["auto", "this_machine"] = "auto"
    pool: Literal["auto", "gpu", "cpu_heavy"] = "auto"
    recompute: bool = False

    @model_validator(mode="after")
    def _engine_suits_device(self) -> Self:
        if self.engine == "openvino" and self.device not in ("auto", "cpu"):
            raise ValueError(
                f"engine: openvino computes on the CPU, not on '{self.device}'; set device: cpu, "
                "or engine: torch"
            )
        return self


class StorageSection(Section):
    """Where artefacts are kept: a folder or an fsspec URL without credentials.

    `cache` is the local folder for files of a URL; None means the user's cache folder.
    """

    root: Name = "storage"
    cache: Name | None = None
    cache_gb: Number = Field(10.0, ge=0, le=1_000_000)


class ScheduleSection(Section):
    """When the benchmark runs by itself, and how often the sensors look."""

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


class EvaluationSection(Section):
    """What the asset `evaluation` evaluates; without a dataset there is no such asset.

    `dataset` is a folder of categories; `models` is one of models, by default this benchmark's.
    """

    dataset: Name | None = None
    models: Name | None = None


class InboxSection(Section):
    """New images that the asset `inspections` scores; without a root there is no such asset.

    `root` is a folder of categories, or a URL without credentials. `first_day` is the first day
    that can be inspected. A file is scored when it has not changed for `settled_seconds`.
    """

    root: Name | None = None
    first_day: Name = "2026-01-01"
    settled_seconds: Number = Field(30.0, ge=0, le=86400)

    @field_validator("first_day")
    @classmethod
    def _is_a_day(cls, day: str) -> str:
        # Each day from here on is a partition; Dagster counts no day after the last year.
        with suppress(ValueError):
            if 1970 <= (first := date.fromisoformat(day)).year < 9999:
                return first.isoformat()
        raise ValueError(f"must be a day such as 2026-01-31, from 1970 on (got {day[:60]!r})")


class ChecksSection(Section):
    """When a result or its images are questioned; changes no result.

    Tolerances are drops of an AUROC or AUPRO; `confidence` is the level of their intervals.
    """

    minimum_train_images: int = Field(20, ge=1, le=1_000_000)
    minimum_test_images: int = Field(10, ge=1, le=1_000_000)
    regression: Verdict = "fail"
    regression_tolerance: Number = Field(0.01, ge=0, le=1)
    published: Verdict = "warn"
    published_tolerance: Number = Field(0.01, ge=0, le=1)
    confidence: Number = Field(0.95, gt=0, lt=1)


class TrackerSection(Section):
    """A tracker that receives the results of each wave; changes no result.

    `group` None means the name that `tracking.group_name` derives. `uri` is the server's; None
    means the one that the environment names. `folder` holds what is written on this machine; None
    means a folder below the storage. `models` sends the model of each category too.
    """

    kind: Literal["mlflow", "tensorboard", "wandb"]
    project: Name = "MVTecAD_Results"
    group: Name | None = None
    online: bool = False
    uri: Name | None = None
    folder: Name | None = None
    models: bool = True

    @field_validator("uri")
    @classmethod
    def _uri_is_plain(cls, uri: str | None) -> str | None:
        if uri is not None and not is_plain_address(uri):
            raise ValueError(CREDENTIALS_OF_SERVER)
        return uri

    @model_validator(mode="after")
    def _keys_suit_each_other(self) -> Self:
        if self.kind == "tensorboard" and (self.online or self.uri):
            raise ValueError("tensorboard has no server; leave out online and uri")
        if self.uri and not self.online:
            raise ValueError("has a uri, which only counts with online: true; leave one out")
        return self
