"""`image_manifest`: what a category's folder holds, validated."""

import dagster as dg

from patchcore_assets.inputs.versions import IMAGES
from patchcore_assets.step.checks import CheckedResult, specs
from patchcore_assets.step.presentation import picture, table
from patchcore_assets.step.resource import Benchmark

# Of files that are not used, as many are named in the metadata; all are counted.
NAMED = 100


@dg.asset(
    deps=[IMAGES],
    group_name="dataset",
    kinds={"pandas", "parquet"},
    code_version="1",
    check_specs=specs("image_manifest"),
)
def image_manifest(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
    """One row per image of a category: path, split, label, mask, size and fingerprint.

    Input is validated here; everything downstream reads the manifest instead of the folder.
    """
    from patchcore_ops.checks import dataset, same_images
    from patchcore_ops.dataset.manifest import count_labels, scan_category
    from patchcore_ops.stages.illustrations import train_contact_sheet
    from patchcore_ops.stages.layout import MANIFEST

    with benchmark.work(context) as work:
        root = work.config.dataset_root
        scan = scan_category(root, work.category, work.hash_of, work.settings)
        scan.images.to_parquet(work.output / MANIFEST, index=False)
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
            },
        )
