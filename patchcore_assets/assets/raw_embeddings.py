"""`raw_embeddings`: every image of a category through the network, once."""

from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from patchcore_assets.assets.by_category import by_category, categories
from patchcore_assets.assets.image_manifest import IMAGE_MANIFEST
from patchcore_assets.inputs.versions import EMBEDDING_CONFIG
from patchcore_assets.pools import pool_of
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.earlier import has_settings
from patchcore_assets.step.resource import Benchmark
from patchcore_assets.step.work import Work
from patchcore_assets.storage import Artefact
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.sections import RuntimeSection

if TYPE_CHECKING:
    import pandas as pd

    from patchcore_ops.stages.earlier_rows import Earlier
    from patchcore_ops.stages.raw_embeddings import Embedded

RAW_EMBEDDINGS = "raw_embeddings"
_LESS_MEMORY = "lower runtime.batch_size or runtime.num_workers"
_CHECKS = (
    Check(
        "every_patch_has_an_embedding",
        "There is one embedding per image and patch. Blocks.",
        blocking=True,
    ),
    Check(
        "embeddings_vary",
        "Sampled embeddings are finite and not all the same. That all are finite is seen to "
        "while they are computed. Blocks.",
        blocking=True,
    ),
    Check(
        "images_differ_as_decoded",
        "No two images have the same pixels though their files differ, as after saving one in "
        "another format. Warns.",
    ),
)


def raw_embeddings(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=RAW_EMBEDDINGS,
        deps=[IMAGE_MANIFEST, EMBEDDING_CONFIG],
        group_name="embedding",
        kinds={"openvino", "pytorch", "numpy"},
        code_version="5",
        pool=pool_of(_device(config.runtime), config.runtime),
        check_specs=specs(RAW_EMBEDDINGS, _CHECKS, categories(config)),
        **by_category(config),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """Patch embeddings of all train and test images, one array per ensemble member and split.

        The network sees each image once: what follows, however often it is repeated with other
        settings, is selection and search.
        """
        from patchcore_ops.checks import embeddings, same_images
        from patchcore_ops.dataset.auto_size import with_decided_size
        from patchcore_ops.stages.layout import read_manifest

        with benchmark.work(context, _device, _LESS_MEMORY) as work:
            images = read_manifest(work.read(IMAGE_MANIFEST))
            work.decide(with_decided_size(work.settings, images))
            embedded = _embed(work, images)
            for fallback in dict.fromkeys(filter(None, embedded.fallbacks)):
                work.warn(f"{fallback}; torch computes it instead, which takes longer")
            grids, rows = embedded.grids, embedded.images
            train_images = int((rows["split"] == "train").sum())
            made_by = _made_by(embedded)
            count = len(images) - embedded.taken_over
            per_second = work.per_second(count)
            return work.finish(
                {
                    "members": len(grids),
                    "images": len(images),
                    "images_embedded": count,
                    "images_taken_over": embedded.taken_over,
                    "train_patches": sum(grid.patches * grid.train_images for grid in grids),
                    "test_patches": sum(grid.patches * grid.test_images for grid in grids),
                    "dimension": grids[0].dimension,
                    "grid": ", ".join(f"{grid.height} x {grid.width}" for grid in grids),
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
                computing={"images_per_second": per_second} if count else {},
            )

    return compute


def _embed(work: Work, images: "pd.DataFrame") -> "Embedded":
    """Embed the images at once, or in shards where there are many.

    Shards are all made anew, for those of the version before may come from other processors.
    """
    from patchcore_ops.stages.embedding_shards import embed_shard, image_shards, join_shards
    from patchcore_ops.stages.raw_embeddings import embed_images

    root, settings, runtime = work.config.dataset_root, work.settings, work.runtime
    if images["split"].value_counts().max() <= runtime.images_per_shard:
        progress = work.progress("images embedded")
        return embed_images(
            images,
            root,
            settings,
            runtime,
            work.output,
            progress,
            work.hash_of,
            work.networks,
            earlier=_earlier(work),
        )
    all_train = int((images["split"] == "train").sum())
    shards = image_shards(images, runtime.images_per_shard)
    folders = work.shards(
        [partial(embed_shard, shard, root, settings, runtime, all_train) for shard in shards]
    )
    members = len(settings.embedding.members)
    return join_shards(images, folders, members, work.output, work.share)


def _earlier(work: Work) -> "Earlier | None":
    """Open the version before, if an image that is in both has the same rows in both.

    So it is with OpenVINO, which computes image by image, with the same exported networks and
    settings. With torch, rows depend on the batch.
    """
    from patchcore_ops.embedding.engine_choice import exported_identities
    from patchcore_ops.embedding.openvino_engine import gives_equal_numbers
    from patchcore_ops.runtime.processors import available_processors
    from patchcore_ops.stages.earlier_rows import FILES, Earlier

    identities = exported_identities(work.settings, work.runtime, work.hash_of)
    if identities is None:
        return None
    members = range(len(identities))
    settings = work.recorded

    def suits(artefact: Artefact) -> bool:
        made_by = [artefact.provenance.get(f"network_{member}") for member in members]
        return (
            made_by == identities
            and gives_equal_numbers(
                available_processors(), int(artefact.provenance.get("threads", "0"))
            )
            and has_settings(artefact, settings)
            # A version in shards may come from several machines.
            and all(
                f"{member}/{file}" in artefact.files
                for member in members
                for file in FILES.values()
            )
        )

    artefact = work.earlier_alike(suits)
    if artefact is None:
        return None
    engines = [artefact.provenance[f"engine_{member}"] for member in members]
    return Earlier(artefact.folder, engines, identities, work.share)


def _device(runtime: RuntimeSection) -> str:
    """Return `runtime.device` as it holds for the network: OpenVINO computes on the CPU."""
    return "cpu" if runtime.engine == "openvino" else runtime.device


def _made_by(embedded: "Embedded") -> dict[str, str]:
    """Name each member's weights, engine and exported network."""
    named: dict[str, str] = {}
    for member, grid in enumerate(embedded.grids):
        named[f"weights_sha256_{member}"] = grid.weights_sha256
        named[f"engine_{member}"] = embedded.engines[member]
        if embedded.networks[member]:
            named[f"network_{member}"] = embedded.networks[member]
    return named
