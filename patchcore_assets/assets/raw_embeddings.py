"""`raw_embeddings`: every image of a category through the network, once."""

import dagster as dg

from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.benchmark import Benchmark
from patchcore_assets.checks import CheckedResult, specs
from patchcore_assets.inputs import EMBEDDING_CONFIG


@dg.asset(
    deps=[image_manifest, EMBEDDING_CONFIG],
    group_name="embedding",
    kinds={"pytorch", "numpy"},
    code_version="3",
    check_specs=specs("raw_embeddings"),
)
def raw_embeddings(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
    """Patch embeddings of all train and test images, one array per ensemble member and split.

    The network sees each image once: what follows, however often it is repeated with other
    settings, is selection and search.
    """
    from patchcore_ops.checks import embeddings, same_images
    from patchcore_ops.stages.embed import embed_images
    from patchcore_ops.stages.layout import read_manifest

    with benchmark.work(context) as work:
        images = read_manifest(work.read("image_manifest"))
        grids, rows = embed_images(
            images,
            work.config.dataset_root,
            work.settings,
            work.runtime,
            work.output,
            work.progress("images embedded"),
            work.hash_of,
        )
        train_images = int((rows["split"] == "train").sum())
        weights = {f"weights_sha256_{at}": grid.weights_sha256 for at, grid in enumerate(grids)}
        return work.finish(
            {
                "members": len(grids),
                "images": len(images),
                "train_patches": sum(grid.patches * grid.train_images for grid in grids),
                "test_patches": sum(grid.patches * grid.test_images for grid in grids),
                "dimension": grids[0].dimension,
                "grid": ", ".join(f"{grid.height} x {grid.width}" for grid in grids),
                "images_per_second": work.per_second(len(images)),
                **{key: dg.MetadataValue.text(sha256) for key, sha256 in weights.items()},
            },
            provenance=weights,
            findings={
                "every_patch_has_an_embedding": embeddings.every_patch_has_an_embedding(
                    work.output, grids, train_images, len(rows) - train_images
                ),
                "embeddings_vary": embeddings.embeddings_vary(work.output, grids),
                "images_differ_as_decoded": same_images.images_differ_as_decoded(rows),
            },
        )
