"""The contents of a report, in memory; rendering needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.inspection.day_table import Figures
from patchcore_ops.report.pictures import Picture


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """One test image with its prediction."""

    name: str  # as shown, for example `broken_large/003.png`
    label: str  # defect type, or `good`
    is_anomaly: bool
    score: float
    image: Picture | None  # None if the image that was scored is gone
    mask: npt.NDArray[np.bool_] | None  # ground truth, shape [H, W]; None if unknown
    heat: Picture  # the anomaly map as a picture
    note: str = ""  # what is wrong with the image


@dataclass(frozen=True, eq=False)
class ImageScores:
    """The scores of all test images of a category, sequences of length n."""

    labels: Sequence[str]
    is_anomaly: npt.NDArray[np.bool_]
    score: npt.NDArray[np.floating]


@dataclass(frozen=True)
class Origin:
    """An asset or input that results were made from; inputs have neither run nor time."""

    name: str
    data_version: str
    run_id: str = ""
    made: str = ""


@dataclass(frozen=True, eq=False)
class CategoryReport:
    """The results of one category."""

    name: str
    metrics: Mapping[str, Any]  # from `category_metrics`; single `curves` may be missing or None
    scores: ImageScores
    gallery: Sequence[GalleryItem] = ()  # the test images to show, see `choose_items`
    config: Mapping[str, Any] = field(default_factory=dict)  # settings of the results, nested
    origins: Sequence[Origin] = ()  # in the order of the data
    provenance: Mapping[str, str] = field(default_factory=dict)  # facts such as hashes of weights
    made: str = ""
    changes: str = ""  # settings that have changed since, in words
    code: Mapping[str, str] = field(default_factory=dict)  # version of each asset's code


@dataclass(frozen=True)
class FailedCategory:
    """A category whose section cannot be shown, and why, in a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class InspectedDay:
    """The images of a category that arrived on a day; see `Figures`."""

    category: str
    day: str
    figures: Figures


@dataclass(frozen=True, eq=False)
class BenchmarkReport:
    """The results of a benchmark."""

    title: str
    created: datetime
    summary: pd.DataFrame  # from `metrics.summary_table`
    previous: pd.DataFrame | None = None  # the summary of the previous wave
    published: pd.DataFrame | None = None  # with the same columns; see `published_baseline`
    missing: Sequence[str] = ()  # configured categories without results
    categories: Sequence[CategoryReport] = ()
    failed: Sequence[FailedCategory] = ()  # categories of the summary without a section
    changes: Mapping[str, str] = field(default_factory=dict)  # settings changed since, by category
    notes: Sequence[str] = ()  # sentences for the reader of the summary
    inspections: Sequence[InspectedDay] = ()  # the latest days of each category, the latest first
    provenance: Mapping[str, str] = field(default_factory=dict)  # versions, platform and the like
