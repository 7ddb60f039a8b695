"""`test_predictions`: scores and anomaly maps of the test images."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.faiss_index import faiss_index
from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.assets.raw_embeddings import raw_embeddings
from patchcore_assets.benchmark import Benchmark
from patchcore_assets.inputs import SCORING_CONFIG
from patchcore_assets.presentation import number, picture, table

_PICTURED_IMAGES = 4


@dg.asset(
    deps=[image_manifest, raw_embeddings, faiss_index, SCORING_CONFIG],
    group_name="evaluation",
    kinds={"faiss", "numpy"},
    code_version="1",
)
def test_predictions(
    context: dg.AssetExecutionContext, benchmark: Benchmark
) -> dg.MaterializeResult[Any]:
    """An anomaly score and an anomaly map of each test image, by nearest-neighbour search."""
    from patchcore_ops.stages.illustrate import PredictionPictures
    from patchcore_ops.stages.layout import read_manifest, test_rows
    from patchcore_ops.stages.predict import predict

    with benchmark.work(context) as work:
        images = test_rows(read_manifest(work.read("image_manifest")))
        predictions = predict(
            images,
            work.read("raw_embeddings"),
            work.read("faiss_index"),
            work.settings,
            work.runtime,
            work.output,
            work.progress("test images searched"),
        )
        images_per_second = work.per_second(len(images))
        pictures = PredictionPictures(
            images, work.config.dataset_root, work.output, work.settings.dataset
        )
        if work.runtime.save_segmentation_images:
            pictures.save_all(work.output)
        scores = predictions.table
        ranked = scores.sort_values("score", ascending=False)
        return work.finish(
            {
                "test_images": len(scores),
                "images_per_second": images_per_second,
                "mean_score_good": number(scores.query("not is_anomaly")["score"].mean()),
                "mean_score_defective": number(scores.query("is_anomaly")["score"].mean()),
                "proven_share": dg.MetadataValue.null()
                if predictions.proven_share is None
                else predictions.proven_share,
                "most_anomalous": table(ranked[["path", "label", "score"]].head(10)),
                "pictures": picture(
                    pictures.stacked(ranked.index[:_PICTURED_IMAGES].tolist()),
                    "The most anomalous test images: image, ground truth, heat map",
                ),
            }
        )
