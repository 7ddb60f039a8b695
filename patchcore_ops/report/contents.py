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
    """The results of one category.

    Attributes
    ----------
    metrics : mapping
        From `metrics.category_metrics`; single `curves` may be missing or None.
    gallery : sequence of GalleryItem
        The test images to show; `choose_items` helps to choose them.
    config : mapping
        The settings with which the results were made, nested as they are written.
    origins : sequence of Origin
        In the order of the data.
    provenance : mapping of str to str
        Further facts, such as the hash of the weights.
    changes : str
        Settings that have changed since, in words.
    """

    name: str
    metrics: Mapping[str, Any]
    scores: ImageScores
    gallery: Sequence[GalleryItem] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    origins: Sequence[Origin] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    made: str = ""
    changes: str = ""


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
    """The results of a benchmark.

    Attributes
    ----------
    summary : DataFrame
        From `metrics.summary_table`.
    previous : DataFrame or None
        The summary of the previous wave.
    published : DataFrame or None
        Published figures under the same column names; see `metrics.published_baseline`.
    missing : sequence of str
        Configured categories without results.
    failed : sequence of FailedCategory
        Categories of the summary without a section.
    changes : mapping of str to str
        By category, settings that have changed since, in words.
    notes : sequence of str
        Sentences for the reader of the summary.
    inspections : sequence of InspectedDay
        The latest days of each category, the latest first.
    provenance : mapping of str to str
        Versions of packages, platform and the like.
    """

    title: str
    created: datetime
    summary: pd.DataFrame
    previous: pd.DataFrame | None = None
    published: pd.DataFrame | None = None
    missing: Sequence[str] = ()
    categories: Sequence[CategoryReport] = ()
    failed: Sequence[FailedCategory] = ()
    changes: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    inspections: Sequence[InspectedDay] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
