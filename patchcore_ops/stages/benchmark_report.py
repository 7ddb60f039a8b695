"""The stage `benchmark_report`: the contents of the page for one category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from patchcore_ops.config.recorded_settings import Recorded
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.inspection.heat_map import overlay_heat
from patchcore_ops.report.contents import CategoryReport, GalleryItem, ImageScores, Origin
from patchcore_ops.report.gallery import GALLERY_LIMIT, choose_items
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.stages.illustrations import DECODERS, PredictionPictures, short_name
from patchcore_ops.stages.layout import read_scores

_DATA_VERSION = ".data_version"
_RUN_ID = ".run_id"
_MADE = ".made"
_MADE_FROM = ".made_from"
# Inputs are not made; sorts after all times.
_NEVER = "~"
_GONE = {"gone": "this image is gone", "changed": "this image has changed since it was scored"}


def category_report(
    category: str,
    dataset_root: Path,
    predictions: Path,
    metrics: Mapping[str, Any],
    settings: CategoryConfig,
    recorded: Recorded,
    lineage: Mapping[str, str],
    shown_images: int = GALLERY_LIMIT,
    hash_of: HashOf = file_hash,
) -> CategoryReport:
    """Gather the contents of the report for one category.

    `recorded` are the settings of the results, `settings` the same as typed sections. `lineage` has
    keys such as `<asset>.data_version` and `<asset>.run_id`. Changed images are not shown.
    """
    scores = read_scores(predictions)
    pictures = PredictionPictures(scores, dataset_root, predictions, settings.dataset, hash_of)
    labels = scores["label"].astype(str).tolist()
    return CategoryReport(
        name=category,
        metrics=metrics,
        scores=ImageScores(
            labels, scores["is_anomaly"].to_numpy(dtype=bool), scores["score"].to_numpy()
        ),
        gallery=_gallery(
            scores, pictures, choose_items(labels, scores["score"].to_numpy(), shown_images)
        ),
        config=recorded,
        origins=_origins(lineage),
        provenance=_facts(lineage),
        made=_date(max((made for key, made in lineage.items() if key.endswith(_MADE)), default="")),
    )


def _origins(lineage: Mapping[str, str]) -> list[Origin]:
    """List the assets that the results were made from: by the time they were made, then inputs."""
    names = [key.removesuffix(_DATA_VERSION) for key in lineage if key.endswith(_DATA_VERSION)]
    return [
        Origin(
            name,
            lineage[name + _DATA_VERSION],
            lineage.get(name + _RUN_ID, ""),
            _date(lineage.get(name + _MADE, "")),
        )
        for name in sorted(names, key=lambda name: (lineage.get(name + _MADE, _NEVER), name))
    ]


def _date(made: str) -> str:
    """Shorten a time of the lineage to minutes."""
    return f"{made[:16].replace('T', ' ')} UTC" if made else ""


def _facts(lineage: Mapping[str, str]) -> dict[str, str]:
    """Name a fact once if all assets agree, such as the packages, otherwise by asset."""
    by_fact: dict[str, dict[str, str]] = {}
    for key, value in lineage.items():
        asset, _, what = key.partition(".")
        if not key.endswith((_DATA_VERSION, _RUN_ID, _MADE, _MADE_FROM)):
            by_fact.setdefault(what, {})[asset] = value
    return {
        what if agree else f"{asset}.{what}": value
        for what, values in by_fact.items()
        for agree in [len(values) > 1 and len(set(values.values())) == 1]
        for asset, value in values.items()
    }


def _gallery(
    scores: pd.DataFrame, pictures: PredictionPictures, rows: Sequence[int]
) -> list[GalleryItem]:
    def item(row: int) -> GalleryItem:
        image, fault = pictures.image(row), pictures.fault(row)
        return GalleryItem(
            name=short_name(str(scores.loc[row, "path"])),
            label=str(scores.loc[row, "label"]),
            is_anomaly=bool(scores.loc[row, "is_anomaly"]),
            score=float(scores["score"].iloc[row]),
            image=image if fault is None else None,
            mask=pictures.mask(row),
            heat=overlay_heat(image, pictures.anomaly_map(row), pictures.low, pictures.high),
            note="" if fault is None else _GONE[fault],
        )

    with ThreadPoolExecutor(DECODERS) as executor:
        return list(executor.map(item, rows))
