"""Everything that a report shows, in memory; rendering needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.report.pictures import Picture


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """One test image with its prediction.

    Attributes
    ----------
    name : str
        File name as shown, for example `broken_large/003.png`.
    label : str
        Defect type, or `good`.
    is_anomaly : bool
    score : float
        Anomaly score of the whole image.
    image : ndarray of uint8, shape [H, W, 3], or None
        None where the image that was scored is not there any more.
    mask : ndarray of bool, shape [H, W], or None
        Ground truth; None where it is not known.
    heat : ndarray of uint8, shape [H, W, 3]
        The anomaly map as a picture, on the same frame as `image`.
    note : str
        What is wrong with the image, if anything.
    """

    name: str
    label: str
    is_anomaly: bool
    score: float
    image: Picture | None
    mask: npt.NDArray[np.bool_] | None
    heat: Picture
    note: str = ""


@dataclass(frozen=True, eq=False)
class ImageScores:
    """The scores of all test images of a category, in one order.

    Attributes
    ----------
    labels : sequence of str, length n
        Defect type of each image, or `good`.
    is_anomaly : ndarray of bool, shape [n]
    score : ndarray of float, shape [n]
    """

    labels: Sequence[str]
    is_anomaly: npt.NDArray[np.bool_]
    score: npt.NDArray[np.floating]


@dataclass(frozen=True)
class Origin:
    """One artefact or input that a category's results were made from.

    Attributes
    ----------
    name : str
        The asset.
    data_version : str
    run_id : str
        The run that made it; empty for an input.
    made : str
        When, in UTC; empty for an input.
    """

    name: str
    data_version: str
    run_id: str = ""
    made: str = ""


@dataclass(frozen=True, eq=False)
class CategoryReport:
    """The results of one category.

    Attributes
    ----------
    name : str
    metrics : mapping
        What `metrics.category_metrics` returns. It may also hold `curves`: a mapping of `roc`,
        `pixel_roc` and `pro` to `{"x": [...], "y": [...]}`; any of them may be missing or None.
    scores : ImageScores
    gallery : sequence of GalleryItem
        The test images to show; `gallery.choose_items` helps to choose them.
    config : mapping
        The settings with which the results were made, nested as they are written.
    origins : sequence of Origin
        What this category's results were made from, in the order of the data.
    provenance : mapping of str to str
        What else is known of how they came about, such as the hash of the weights.
    made : str
        When the metrics were made.
    changes : str
        In which settings the configuration differs by now, in words; empty if in none.
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


@dataclass(frozen=True, eq=False)
class BenchmarkReport:
    """The results of a benchmark.

    Attributes
    ----------
    title : str
    created : datetime
    summary : DataFrame
        From `metrics.summary_table`: column `category`, then metrics; the last row is `Mean`.
    previous : DataFrame or None
        The summary of the previous wave.
    published : DataFrame or None
        Published figures under the same column names; see `published.published_baseline`.
    missing : sequence of str
        Configured categories that have no results.
    categories : sequence of CategoryReport
    failed : sequence of FailedCategory
        Categories of the summary that have no section.
    changes : mapping of str to str
        By category of the summary, in which settings the configuration differs by now, in words.
    notes : sequence of str
        What has to be known to read the summary: one sentence each.
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
    provenance: Mapping[str, str] = field(default_factory=dict)
