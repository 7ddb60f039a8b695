"""The benchmark's report: one HTML file that holds everything it shows."""

from patchcore_ops.metrics.published import published_baseline
from patchcore_ops.report.contents import (
    BenchmarkReport,
    CategoryReport,
    GalleryItem,
    ImageScores,
    Origin,
)
from patchcore_ops.report.gallery import choose_items
from patchcore_ops.report.render import render_report

__all__ = [
    "BenchmarkReport",
    "CategoryReport",
    "GalleryItem",
    "ImageScores",
    "Origin",
    "choose_items",
    "published_baseline",
    "render_report",
]
