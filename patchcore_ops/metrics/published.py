"""The published results that a benchmark is compared with."""

from __future__ import annotations

from importlib import resources

import pandas as pd


def published_baseline() -> pd.DataFrame:
    """Return the published results on MVTec AD: WideResNet-50, 224 px, 10 % coreset.

    Returns
    -------
    DataFrame
        Columns `category`, `instance_auroc`, `full_pixel_auroc`, `anomaly_pixel_auroc` and `aupro`
        (float64, from 0 to 1); the last of the 16 rows is `Mean`.
    """
    file = resources.files("patchcore_ops.report") / "published_wr50_224.csv"
    with file.open(encoding="utf-8") as stream:
        return pd.read_csv(stream)
