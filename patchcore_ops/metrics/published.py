"""The published results that a benchmark is compared with."""

from importlib import resources

import pandas as pd


def published_baseline() -> pd.DataFrame:
    """Read the published results on MVTec AD: WideResNet-50, 224 px, 10 % coreset.

    There are `category`, then metrics from 0 to 1; 15 categories and the row `Mean`.

    Examples
    --------
    >>> published_baseline()["category"].tolist()[-2:]
    ['zipper', 'Mean']
    """
    file = resources.files("patchcore_ops.metrics") / "published_wr50_224.csv"
    with file.open(encoding="utf-8") as stream:
        return pd.read_csv(stream)
