"""Metrics of a category, their confidence intervals, their history, and published figures."""

from patchcore_ops.metrics.bootstrap import auroc_interval
from patchcore_ops.metrics.category import category_metrics, summary_table
from patchcore_ops.metrics.published import published_baseline
from patchcore_ops.metrics.region_overlap import aupro

__all__ = ["aupro", "auroc_interval", "category_metrics", "published_baseline", "summary_table"]
