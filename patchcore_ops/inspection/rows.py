"""What a model says of an image, as a row: for JSON, CSV and Parquet alike."""

from __future__ import annotations

from typing import Any, Final

from patchcore_ops.dataset.image_formats import printable
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.model.regions import Region

COLUMNS: Final = (
    "path",
    "score",
    "p_value",
    "is_anomaly",
    "probability",
    "regions",
    "reason",
    "heat_map",
)

Row = dict[str, Any]


def prediction_row(found: Prediction | Unreadable) -> Row:
    """Return an image's row, by the names in `COLUMNS`, of what JSON can hold.

    `regions` is a list of dicts. What is unknown is None: `reason` of a prediction, all but `path`
    and `reason` of an unreadable image, and `heat_map`, until it lies somewhere.
    """
    row: Row = dict.fromkeys(COLUMNS)
    row["path"] = printable(found.name)
    if isinstance(found, Unreadable):
        return {**row, "reason": found.reason}
    return {
        **row,
        "score": found.score,
        "p_value": found.p_value,
        "is_anomaly": found.is_anomaly,
        "probability": found.probability,
        "regions": [_region_row(region) for region in found.regions],
    }


def _region_row(region: Region) -> Row:
    return {
        "box": list(region.box),
        "area": region.area,
        "peak": region.peak,
        "peak_at": list(region.peak_at),
    }
