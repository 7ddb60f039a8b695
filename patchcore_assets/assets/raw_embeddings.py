"""`raw_embeddings`: every image of a category through the network, once."""

from typing import TYPE_CHECKING

import dagster as dg

from patchcore_assets.assets.image_manifest import image_manifest
from patchcore_assets.inputs.versions import EMBEDDING_CONFIG
from patchcore_assets.step.checks import CheckedResult, specs
from patchcore_assets.step.resource import Benchmark

if TYPE_CHECKING:
    from patchcore_ops.stages.raw_embeddings import Embedded


@dg.asset(
    deps=[image_manifest, EMBEDDING_CONFIG],
    group_name="embedding",
    kinds={"openvino", "pytorch", "numpy"},
    code_version="4",
    check_specs=specs("raw_embeddings"),
)
def raw_embeddings(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
    """Patch embeddings of all train and test images, one array per ensemble member and split.

    The network sees each image once: what follows, however often it is repeated with other
    settings, is selection and search.
    """
    from patchcore_ops.checks import embeddings, same_images
    from patchcore_ops.stages.layout import read_manifest
    from patchcore_ops.stages.raw_embeddings import embed_images

    with benchmark.work(context) as work:
        images = read_manifest(work.read("image_manifest"))
        embedded = embed_images(
            images,
            work.config.dataset_root,
            work.settings,
            work.runtime,
            work.output,
            work.progress("images embedded"),
            work.hash_of,
            work.networks,
        )
        for fallback in dict.fromkeys(filter(None, embedded.fallbacks)):
            work.warn(f"{fallback}; torch computes it instead, which takes longer")
        grids, rows = embedded.grids, embedded.images
        train_images = int((rows["split"] == "train").sum())
        made_by = _made_by(embedded)
        return work.finish(
            {
                "members": len(grids),
                "images": len(images),
                "train_patches": sum(grid.patches * grid.train_images for grid in grids),
                "test_patches": sum(grid.patches * grid.test_images for grid in grids),
                "dimension": grids[0].dimension,
                "grid": ", ".join(f"{grid.height} x {grid.width}" for grid in grids),
                "images_per_second": work.per_second(len(images)),
                **{key: dg.MetadataValue.text(value) for key, value in made_by.items()},
            },
            provenance=made_by,
            findings={
                "every_patch_has_an_embedding": embeddings.every_patch_has_an_embedding(
                    work.output, grids, train_images, len(rows) - train_images
                ),
                "embeddings_vary": embeddings.embeddings_vary(work.output, grids),
                "images_differ_as_decoded": same_images.images_differ_as_decoded(rows),
            },
        )


def _made_by(embedded: "Embedded") -> dict[str, str]:
    """Name each member's weights, engine and exported network."""
    named: dict[str, str] = {}
    for member, grid in enumerate(embedded.grids):
        named[f"weights_sha256_{member}"] = grid.weights_sha256
        named[f"engine_{member}"] = embedded.engines[member]
        if embedded.networks[member]:
            named[f"network_{member}"] = embedded.networks[member]
    return named
