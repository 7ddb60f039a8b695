"""`test_predictions`: scores and anomaly maps of the test images."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.by_category import by_category, categories
from patchcore_assets.assets.faiss_index import FAISS_INDEX
from patchcore_assets.assets.memory_bank import MEMORY_BANK
from patchcore_assets.assets.raw_embeddings import RAW_EMBEDDINGS
from patchcore_assets.inputs.versions import SCORING_CONFIG
from patchcore_assets.pools import CPU_HEAVY, GPU
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.presentation import charts, number, picture, place, table
from patchcore_assets.step.resource import Benchmark
from patchcore_assets.step.work import Work
from patchcore_ops.config import BenchmarkConfig

if TYPE_CHECKING:
    import pandas as pd

    from patchcore_ops.stages.illustrations import PredictionPictures
    from patchcore_ops.stages.predictions import Predictions

TEST_PREDICTIONS = "test_predictions"
_PICTURED_IMAGES = 4
_LISTED_IMAGES = 10
_PICTURES = {
    "most_anomalous": "The most anomalous test images: image, ground truth, heat map",
    "most_wrong": "The most wrongly scored test images: image, ground truth, heat map",
}

_LESS_MEMORY = "lower coreset.percentage or runtime.faiss_num_workers"
_CHECKS = (
    Check(
        "one_prediction_per_image",
        "Every test image has one score and one map, in the order of the embeddings. Blocks.",
        blocking=True,
    ),
    Check("predictions_are_finite", "Scores and anomaly maps are finite. Blocks.", blocking=True),
)


def test_predictions(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""
    settings = [*config.by_category.values(), *filter(None, [config.of_discovered])]
    # Units of members come from train images, each without its own rows of the bank. How one
    # category scales its members is no dependency that others gain or lose.
    bank = [MEMORY_BANK] if any(len(one.embedding.members) > 1 for one in settings) else []

    @dg.asset(
        name=TEST_PREDICTIONS,
        deps=[RAW_EMBEDDINGS, *bank, FAISS_INDEX, SCORING_CONFIG],
        group_name="evaluation",
        kinds={"faiss", "numpy"},
        code_version="7",
        pool=GPU if config.runtime.faiss_on_gpu else CPU_HEAVY,
        check_specs=specs(TEST_PREDICTIONS, _CHECKS, categories(config)),
        **by_category(config),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """An anomaly score and an anomaly map of each test image, by nearest-neighbour search."""
        from patchcore_ops.checks import predictions as checks
        from patchcore_ops.dataset.crop import insides_of
        from patchcore_ops.stages.illustrations import PredictionPictures
        from patchcore_ops.stages.layout import (
            PICTURES,
            SEGMENTATION_IMAGES,
            read_images,
            test_rows,
        )

        with benchmark.work(context, less_memory=_LESS_MEMORY) as work:
            embeddings = work.read(RAW_EMBEDDINGS)
            images = test_rows(read_images(embeddings))
            predictions = _predict(work, embeddings, work.read(FAISS_INDEX), len(images))
            images_per_second = work.per_second(len(images))
            scores = predictions.table
            pictures = PredictionPictures(
                scores, work.config.dataset_root, work.output, work.settings.dataset, work.hash_of
            )
            if work.runtime.save_segmentation_images:
                pictures.save_all(work.output)
            return work.finish(
                {
                    "test_images": len(scores),
                    "mean_score_good": number(scores.query("not is_anomaly")["score"].mean()),
                    "mean_score_defective": number(scores.query("is_anomaly")["score"].mean()),
                    **_score_distribution(scores),
                    **_notable_images(scores, pictures, work.output / PICTURES),
                    "full_size_pictures": place(f"{work.location}/{PICTURES}"),
                    "pictures_of_all_images": place(f"{work.location}/{SEGMENTATION_IMAGES}")
                    if work.runtime.save_segmentation_images
                    else "not saved; set runtime.save_segmentation_images to true",
                },
                unversioned=[f"{PICTURES}/{name}.jpg" for name in _PICTURES],
                findings={
                    "one_prediction_per_image": checks.one_prediction_per_image(
                        images, scores, work.output, work.settings.dataset.crop_size
                    ),
                    "predictions_are_finite": checks.predictions_are_finite(
                        scores, work.output, insides_of(images, work.settings.dataset)
                    ),
                },
                device="cuda" if work.runtime.faiss_on_gpu else "cpu",
                computing={
                    "images_per_second": images_per_second,
                    "proven_share": number(predictions.proven_share),
                },
            )

    return compute


def _predict(work: Work, embeddings: Path, indices: Path, images: int) -> "Predictions":
    """Take the predictions over, or search: at once, or in shards where there are many images."""
    from patchcore_ops.runtime.rows import even_bounds
    from patchcore_ops.stages.layout import (
        ANOMALY_MAPS,
        GRID,
        IMAGES,
        RANGES,
        SCORES,
        TEST_EMBEDDINGS,
        read_scores,
    )
    from patchcore_ops.stages.member_units import member_units
    from patchcore_ops.stages.patch_scores import search_shard
    from patchcore_ops.stages.predictions import Predictions, assemble_predictions, predict

    settings, runtime = work.settings, work.runtime
    bank = work.read(MEMORY_BANK) if settings.members_have_units else None
    if work.takes_over(SCORES, ANOMALY_MAPS, IMAGES, RANGES):
        return Predictions(read_scores(work.output), None)
    units: tuple[float, ...] = ()
    if bank is not None:
        units = member_units(embeddings, bank, indices, settings, runtime)
    if images <= runtime.images_per_shard:
        progress = work.progress("test images searched")
        return predict(embeddings, indices, settings, runtime, work.output, progress, units)
    bounds = even_bounds(images, -(-images // runtime.images_per_shard))
    ranges = [range(start, stop) for start, stop in pairwise(bounds)]
    needed = [
        file.relative_to(embeddings).as_posix()
        for file in embeddings.rglob("*")
        if file.name == GRID or file.name.startswith(Path(TEST_EMBEDDINGS).stem)
    ]
    parts = work.shards(
        [partial(search_shard, settings, runtime, one) for one in ranges],
        [{RAW_EMBEDDINGS: needed, FAISS_INDEX: None}] * len(ranges),
    )
    return assemble_predictions(embeddings, parts, settings, work.output, units)


def _score_distribution(scores: "pd.DataFrame") -> dict[str, dg.MetadataValue[Any]]:
    from patchcore_ops.report.charts.histogram import score_histogram
    from patchcore_ops.stages.illustrations import best_threshold

    threshold = best_threshold(scores)
    score, is_anomaly = scores["score"].to_numpy(), scores["is_anomaly"].to_numpy(dtype=bool)
    title = "Scores of good images (upwards) and of defective ones (downwards)"
    return {"score_histogram": charts({title: score_histogram(score, is_anomaly, threshold)})}


def _notable_images(
    scores: "pd.DataFrame", pictures: "PredictionPictures", folder: Path
) -> dict[str, dg.MetadataValue[Any]]:
    from patchcore_ops.stages.illustrations import most_wrong, save_picture

    anomalous = scores.sort_values("score", ascending=False).head(_LISTED_IMAGES)
    wrong = most_wrong(scores, _LISTED_IMAGES)
    shown = {}
    for (name, title), rows in zip(_PICTURES.items(), (anomalous, wrong), strict=True):
        pixels = pictures.stacked(rows.head(_PICTURED_IMAGES))
        save_picture(pixels, folder / f"{name}.jpg")
        shown[f"{name}_pictures"] = picture(pixels, title)
    return {
        **shown,
        "most_wrong": table(_listed(wrong, "score", "error")),
        "most_anomalous": table(_listed(anomalous, "score")),
    }


def _listed(scores: "pd.DataFrame", *columns: str) -> "pd.DataFrame":
    """Name the images by folder and file, so that the table fits into the page's column."""
    from patchcore_ops.stages.illustrations import short_name

    return scores.assign(image=scores["path"].map(short_name))[["image", *columns]]
