"""The metrics of a category, with confidence intervals, history and published figures."""

from patchcore_ops.metrics.category import category_metrics, summary_table
from patchcore_ops.metrics.region_overlap import aupro

__all__ = ["aupro", "category_metrics", "summary_table"]
