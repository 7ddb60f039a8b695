r"""How many good test images exceed thresholds that train images set, at several rates.

    python -m benchmarks.calibrated_rates --storage storage-demo

Reads `score_calibration` and `test_predictions` of every category of a storage.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from benchmarks import tables
from benchmarks.measuring import run_main
from patchcore_ops.calibration import conformal_threshold, guaranteed_rate
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.stages.layout import NORMAL_SCORES, read_scores

_RATES = (0.01, 0.05, 0.1)
_CONFIDENCE = 0.95


def main() -> None:
    """Count and write."""
    options = _options()
    folders = sorted((options.storage / "score_calibration").glob("[!.]*"))
    if not folders:
        raise DatasetError(f"{options.storage}: holds no score_calibration; name a storage")
    rows = [
        row
        for folder in folders
        for row in _rows(folder, options.storage / "test_predictions" / folder.name)
    ]
    agreeing = sum(row["agrees"] == "yes" for row in rows)
    notes = [
        f"Binomial intervals (Clopper and Pearson) at {_CONFIDENCE:.0%}; {agreeing} of {len(rows)} "
        "hold the rate that was asked for.",
        "Thresholds come from scores of train images, each against the bank without its own rows.",
    ]
    title = f"False positives at calibrated thresholds: {options.storage.name}"
    table = tables.Table(title, rows, notes)
    tables.write(options, "calibrated_rates", table, lambda axes: _draw(axes, rows))


def _rows(calibration: Path, predictions: Path) -> list[dict[str, object]]:
    normal = pd.read_parquet(calibration / NORMAL_SCORES)["score"].tolist()
    test = read_scores(predictions)
    good = test.loc[~test["is_anomaly"], "score"]
    defective = test.loc[test["is_anomaly"], "score"]
    rows: list[dict[str, object]] = []
    for rate in _RATES:
        threshold = conformal_threshold(normal, rate)
        seen = int((good > threshold).sum())
        interval = binomtest(seen, len(good)).proportion_ci(_CONFIDENCE, method="exact")
        rows.append(
            {
                "category": calibration.name,
                "normal": len(normal),
                "asked": rate,
                "guaranteed": guaranteed_rate(len(normal), rate),
                "good": len(good),
                "above": seen,
                "low": float(interval.low),
                "high": float(interval.high),
                "agrees": "yes" if interval.low <= rate <= interval.high else "no",
                "recall": float((defective > threshold).mean()),
            }
        )
    return rows


def _draw(axes: Any, rows: Sequence[tables.Row]) -> None:
    for position, row in enumerate(rows):
        axes.plot([position, position], [row["low"], row["high"]], color="grey")
        axes.plot(position, row["above"] / row["good"], "o", color="black")
        axes.plot(position, row["asked"], "_", color="red", markersize=12)
    axes.set_ylabel("share of good test images above the threshold")
    names = [f"{row['category']}, {row['asked']:.0%}" for row in rows]
    axes.set_xticks(range(len(rows)), names, rotation=90)


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--storage", type=Path, required=True, help="with finished categories")
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
