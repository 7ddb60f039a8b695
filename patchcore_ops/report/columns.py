"""The metrics as columns of the report's tables: order, headings, explanations and formats."""

from __future__ import annotations

import math
from dataclasses import dataclass

from patchcore_ops.report.charts.svg import MINUS, score_text

UNDEFINED = "—"


@dataclass(frozen=True)
class Column:
    """One metric in a table."""

    name: str
    group: str
    title: str
    meaning: str
    is_threshold: bool = False

    @property
    def full_title(self) -> str:
        """The heading where the group is not shown."""
        return f"{self.group} {self.title}"

    def text(self, value: float) -> str:
        """Format a value: shares in percent, thresholds as they are, NaN as a dash."""
        if math.isnan(value):
            return UNDEFINED
        return score_text(value) if self.is_threshold else f"{100 * value:.2f}"

    def difference_text(self, difference: float) -> str:
        """Format a difference of shares in percentage points, always with a sign."""
        points = round(100 * difference, 2)
        return "±0.00" if points == 0 else f"{points:+.2f}".replace("-", MINUS)


COLUMNS = (
    Column(
        "instance_auroc",
        "Image",
        "AUROC",
        "How well the image scores separate defective from good images: the chance that a "
        "defective image scores higher than a good one.",
    ),
    Column(
        "instance_ap",
        "Image",
        "AP",
        "Average precision of the image scores: precision averaged over the defective images "
        "found, from the highest score downwards.",
    ),
    Column(
        "instance_f1_max",
        "Image",
        "F1 max",
        "The best harmonic mean of precision and recall that any threshold on the image score "
        "reaches.",
    ),
    Column(
        "instance_f1_threshold",
        "Image",
        "F1 threshold",
        "The image score from which an image counts as defective at the best F1.",
        is_threshold=True,
    ),
    Column(
        "full_pixel_auroc",
        "Pixel",
        "AUROC",
        "How well the anomaly maps separate defective from good pixels, over all test images.",
    ),
    Column(
        "anomaly_pixel_auroc",
        "Pixel",
        "AUROC, defective images",
        "The same over the images that have a marked defect only.",
    ),
    Column(
        "aupro",
        "Pixel",
        "AUPRO",
        "Per-region overlap, averaged over false-positive rates up to the limit: every connected "
        "defect counts alike, however small it is.",
    ),
    Column(
        "aupro_0_05",
        "Pixel",
        "AUPRO 5 %",
        "The same up to a false-positive rate of 0.05, as MVTec AD 2 asks.",
    ),
    Column(
        "aupimo",
        "Pixel",
        "AUPIMO",
        "The detected share of each image's mask, averaged over thresholds at which of the pixels "
        "of normal images only 1 in 100,000 to 1 in 10,000 is above, then over images.",
    ),
    Column("pixel_ap", "Pixel", "AP", "Average precision of the anomaly maps over all pixels."),
    Column(
        "pixel_f1_max",
        "Pixel",
        "F1 max",
        "The best harmonic mean of precision and recall that any threshold on the anomaly map "
        "reaches.",
    ),
    Column(
        "pixel_f1_threshold",
        "Pixel",
        "F1 threshold",
        "The value of the anomaly map from which a pixel counts as defective at the best F1.",
        is_threshold=True,
    ),
)
COLUMN_OF = {column.name: column for column in COLUMNS}
HEADLINES = ("instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro")
CHARTED = ("instance_auroc", "full_pixel_auroc", "aupro")
