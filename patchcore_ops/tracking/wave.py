"""The record of a wave, from its table and from what its categories recorded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from patchcore_ops.config.recorded_settings import Recorded, apply, flatten
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.metrics.category import MEAN
from patchcore_ops.tracking.group_name import group_name
from patchcore_ops.tracking.record import (
    CategoryResult,
    Record,
    common_settings,
    numbers_of,
    versions_of,
)


class Measured(NamedTuple):
    """What is known of a category: its metrics, and how they were made.

    `metrics` is the content of `metrics.json`; `numbers` are seconds and sizes; `model` is the data
    version of its model, empty where there is none.
    """

    metrics: Mapping[str, Any]
    settings: Recorded
    lineage: Mapping[str, str]
    numbers: Mapping[str, float]
    model: str = ""


def record_of_wave(
    wave: str,
    made: str,
    version: str,
    summary: pd.DataFrame,
    measured: Mapping[str, Measured],
    versions: Mapping[str, str],
) -> Record:
    """Gather what trackers receive of a wave.

    `made` says when the table `summary` was made (ISO 8601), `version` is its data version: the
    same wave with other figures is another record. Categories of the table that are not `measured`
    have their figures from the table alone. `versions` are those of the environment.
    """
    rows = {str(row["category"]): row for row in summary.to_dict("records")}
    settings = {name: dict(flatten(one.settings)) for name, one in measured.items()}
    categories = [name for name in rows if name != MEAN]
    mean = CategoryResult(
        MEAN,
        {**numbers_of(rows[MEAN]), "categories": float(len(categories))},
        common_settings(list(settings.values())),
        {**versions, "metrics.data_version": version},
    )
    results = [mean]
    for name in categories:
        one = measured.get(name)
        if one is None:
            results.append(CategoryResult(name, numbers_of(rows[name]), {}, {}))
            continue
        figures = {**numbers_of(one.metrics), **_of_defects(one.metrics), **one.numbers}
        results.append(
            CategoryResult(name, figures, settings[name], versions_of(one.lineage), one.model)
        )
    return Record(
        id=hashlib.sha256(f"{wave}\0{version}".encode()).hexdigest()[:16],
        wave=wave,
        made=made,
        group=_group([one.settings for one in measured.values()]),
        results=tuple(results),
    )


def _of_defects(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Name the metrics of each defect type, such as `defects/crack/aupro`."""
    return {
        f"defects/{row['defect_type']}/{name}": value
        for row in metrics.get("per_defect", [])
        for name, value in numbers_of(row).items()
    }


def _group(settings: list[Recorded]) -> str:
    """Name the group by the settings of most categories."""
    names = Counter(group_name(apply(CategoryConfig(), one)) for one in settings)
    return names.most_common(1)[0][0] if names else "results"
