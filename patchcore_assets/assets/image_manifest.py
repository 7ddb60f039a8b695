"""`image_manifest`: what a category's folder holds, validated."""

import dagster as dg

from patchcore_assets.assets.by_category import by_category, categories
from patchcore_assets.inputs.versions import IMAGES
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.presentation import picture, table
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig

IMAGE_MANIFEST = "image_manifest"
# Of files that are not used, as many are named in the metadata; all are counted.
NAMED = 100
_CHECKS = (
    Check(
        "train_and_test_differ",
        "No image is in both train and test, by content. Blocks.",
        blocking=True,
    ),
    Check(
        "masks_match_images",
        "Every mask has the size of its image; others are not used. Blocks.",
        blocking=True,
    ),
    Check("train_images_differ", "No image is twice among the train images. Warns."),
    Check(
        "test_images_differ",
        "No image is twice among the test images, be it under one label or two. Warns.",
    ),
    Check(
        "defects_have_masks",
        "Every defective image has a mask, where the category has ground truth. Warns.",
    ),
    Check(
        "enough_images",
        "There are as many train and test images as the section `checks` asks for, and both "
        "normal and defective ones. Warns.",
    ),
    Check("image_sizes_agree", "All images have one size. Warns."),
    Check("images_are_large_enough", "No image is enlarged to fill the crop. Warns."),
    Check(
        "images_are_read_as_shown",
        "No image has an EXIF rotation, several pictures, transparent parts or unused bits, "
        "of which a viewer makes use and the benchmark does not. Warns.",
    ),
    Check(
        "masks_mark_defects",
        "Every mask in use marks something, in black and white, inside the crop, and not most "
        "of its image. Warns.",
    ),
    Check(
        "every_file_is_used", "No file was passed over, be it no image or the mask of none. Warns."
    ),
    Check(
        "fits_this_machine",
        "By estimate, no stage takes more memory than this machine has, nor the artefacts more "
        "disk than is free. Warns.",
    ),
)


def image_manifest(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=IMAGE_MANIFEST,
        deps=[IMAGES],
        group_name="dataset",
        kinds={"pandas", "parquet"},
        code_version="2",
        check_specs=specs(IMAGE_MANIFEST, _CHECKS, categories(config)),
        **by_category(config),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """One row per image of a category: path, split, label, mask, size and fingerprint.

        Input is validated here; everything downstream reads the manifest instead of the folder.
        """
        from patchcore_assets.step.planning import plan_table, planned
        from patchcore_ops.checks import dataset, same_images
        from patchcore_ops.checks.plan import fits_this_machine
        from patchcore_ops.dataset.auto_size import with_decided_size
        from patchcore_ops.dataset.manifest import count_labels
        from patchcore_ops.stages.illustrations import train_contact_sheet
        from patchcore_ops.stages.image_manifest import write_manifest

        with benchmark.work(context) as work:
            root = work.config.dataset_root
            scan = write_manifest(work.category, root, work.settings, work.output, work.hash_of)
            work.decide(with_decided_size(work.settings, scan.images))
            plan, machine = planned(work, scan.images)
            return work.finish(
                {
                    "train_images": int((scan.images["split"] == "train").sum()),
                    "test_images": int((scan.images["split"] == "test").sum()),
                    "defective_images": int(scan.images["is_anomaly"].sum()),
                    "masks": int(scan.images["mask_path"].notna().sum()),
                    "folder": dg.MetadataValue.path(root / work.category),
                    "train_contact_sheet": picture(
                        train_contact_sheet(scan.images, root, work.settings.dataset.max_pixels),
                        "Train images, evenly spaced",
                    ),
                    "plan": plan_table(plan, machine),
                    "labels": table(count_labels(scan.images)),
                    "skipped_files": len(scan.skipped),
                    "skipped": dg.MetadataValue.json(
                        [skipped._asdict() for skipped in scan.skipped[:NAMED]]
                    ),
                    "unused_masks": dg.MetadataValue.json(list(scan.unused_masks[:NAMED])),
                    "beside_the_dataset": dg.MetadataValue.json(list(scan.beside[:NAMED])),
                },
                findings={
                    "train_and_test_differ": same_images.train_and_test_differ(scan.images),
                    "masks_match_images": dataset.masks_match_images(scan),
                    "train_images_differ": same_images.train_images_differ(scan.images),
                    "test_images_differ": same_images.test_images_differ(scan.images),
                    "defects_have_masks": dataset.defects_have_masks(scan),
                    "enough_images": dataset.enough_images(scan.images, work.settings.checks),
                    "image_sizes_agree": dataset.image_sizes_agree(scan.images),
                    "images_are_large_enough": dataset.images_are_large_enough(
                        scan.images, work.settings.dataset
                    ),
                    "images_are_read_as_shown": dataset.images_are_read_as_shown(scan),
                    "masks_mark_defects": dataset.masks_mark_defects(scan),
                    "every_file_is_used": dataset.every_file_is_used(scan),
                    "fits_this_machine": fits_this_machine(plan, machine),
                },
            )

    return compute
