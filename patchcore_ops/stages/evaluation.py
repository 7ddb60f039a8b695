"""The stage `evaluation`: a model on the test images of any dataset, judged as the benchmark is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.config.recorded_settings import record
from patchcore_ops.config.sections import CategoryConfig, MetricsSection, RuntimeSection
from patchcore_ops.config.settings_notes import notes_on_mean
from patchcore_ops.dataset.image_formats import problem_report
from patchcore_ops.dataset.manifest import image_files, scan_category
from patchcore_ops.dataset.recorded_files import unchanged
from patchcore_ops.model.member_engine import settings_of
from patchcore_ops.model.predictor import Model
from patchcore_ops.report.contents import BenchmarkReport, CategoryReport
from patchcore_ops.report.pictures import Picture
from patchcore_ops.report.render import render_report
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.scoring.ensemble import MemberScales
from patchcore_ops.stages import layout
from patchcore_ops.stages.benchmark_report import category_report
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.illustrations import PredictionPictures, most_wrong, save_picture
from patchcore_ops.stages.metrics import tabulate
from patchcore_ops.stages.predictions import ranges_over, write_predictions
from patchcore_ops.stages.provenance import environment

Floats = npt.NDArray[np.float32]
_PICTURED_IMAGES = 4
_TEST = "test"
_SECTIONS = ("dataset", "embedding", "index", "scoring", "metrics")


@dataclass(frozen=True)
class Evaluation:
    """What a model gave on a dataset; `ranges_of` says over which images members were scaled."""

    metrics: Mapping[str, Any]
    report: CategoryReport
    pictures: Mapping[str, Picture]
    ranges_of: str


def evaluate_model(
    model: Model,
    category: str,
    dataset_root: Path,
    metrics: MetricsSection,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
    hash_of: HashOf = file_hash,
) -> Evaluation:
    """Score the test images of a category of a dataset, and judge the scores.

    Writes what `test_predictions` and `category_metrics` write, and pictures. The members of a
    model without ranges are scaled over these test images. Raises DatasetError if there are no test
    images, or a file cannot be used or changes meanwhile.
    """
    settings = settings_of(model.description).model_copy(update={"metrics": metrics})
    scan = scan_category(dataset_root, category, hash_of, settings, splits=(_TEST,))
    if scan.misfits:
        raise problem_report([*map(str, scan.misfits)])
    images = layout.test_rows(scan.images)
    recorded = layout.recorded_images(images, dataset_root)
    with unchanged(recorded, "this evaluation", hash_of, "evaluate again"):
        by_member = _patch_scores(model, image_files(images, _TEST, dataset_root), on_progress)
    scales, ranges_of = _scales(model, by_member, images, settings)
    write_predictions(images, by_member, scales, settings, folder)
    found = evaluate(category, dataset_root, folder, settings, runtime, folder, hash_of)
    pictures = _save_pictures(dataset_root, settings, folder, hash_of)
    report = category_report(
        category,
        dataset_root,
        folder,
        found,
        settings,
        record(settings, _SECTIONS, hash_of),
        model.description.provenance,
        hash_of=hash_of,
    )
    return Evaluation(found, report, pictures, ranges_of)


def write_evaluations(
    evaluations: Mapping[str, Evaluation], title: str, folder: Path
) -> pd.DataFrame:
    """Write the table and the page of some categories' evaluations; return the table."""
    table = tabulate({name: one.metrics for name, one in evaluations.items()}, folder)
    page = render_report(
        BenchmarkReport(
            title=title,
            created=datetime.now(UTC),
            summary=table,
            categories=[one.report for one in evaluations.values()],
            notes=evaluation_notes(evaluations),
            provenance=environment(),
        )
    )
    (folder / layout.REPORT).write_text(page, encoding="utf-8")
    return table


def evaluation_notes(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Say how the categories of the mean differ, and whose members the test images scale."""
    notes = notes_on_mean(
        {name: one.report.config for name, one in evaluations.items()},
        {name: one.metrics["reference_masks_applied"] for name, one in evaluations.items()},
        {},
    )
    scaled = [name for name, one in evaluations.items() if one.ranges_of == "these test images"]
    if scaled:
        notes.append(
            f"The members of {', '.join(scaled)} are scaled over these test images, for the model "
            "has no ranges"
        )
    return notes


def _patch_scores(
    model: Model, files: Sequence[Path], on_progress: Progress | None
) -> list[Floats]:
    """Score the patches of all images: for each member, shape [n, h, w]."""
    by_member: list[Floats] = [
        np.empty((len(files), *member.grid), dtype=np.float32)
        for member in model.description.members
    ]
    with closing(model.patch_scores(files)) as scored:
        for at, (_, of_members) in enumerate(scored):
            for scores, of_image in zip(by_member, of_members, strict=True):
                scores[at] = of_image[0]
            if on_progress is not None:
                on_progress(at + 1, len(files))
    return by_member


def _scales(
    model: Model, by_member: list[Floats], images: pd.DataFrame, settings: CategoryConfig
) -> tuple[MemberScales, str]:
    scales = model.description.scales
    if scales is not None:
        return scales, model.description.scoring.ranges_of if scales.scores else ""
    return ranges_over(by_member, images, settings), "these test images"


def _save_pictures(
    root: Path, settings: CategoryConfig, folder: Path, hash_of: HashOf
) -> dict[str, Picture]:
    scores = layout.read_scores(folder)
    drawn = PredictionPictures(scores, root, folder, settings.dataset, hash_of)
    anomalous = scores.sort_values("score", ascending=False).head(_PICTURED_IMAGES)
    wrong = most_wrong(scores, _PICTURED_IMAGES)
    pictures = {"most_anomalous": drawn.stacked(anomalous), "most_wrong": drawn.stacked(wrong)}
    for name, pixels in pictures.items():
        save_picture(pixels, folder / layout.PICTURES / f"{name}.jpg")
    return pictures
